// Markup as tagged templates. Preact escapes all that is put into it; nothing on this page writes HTML by itself.
import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);
