// The API's own words: what stands between backticks in them is a name as it is written.
import { html } from "../html.js";

export const Said = ({ text }) => text.split(/`([^`]+)`/).map((part, n) => (n % 2 ? html`<code key=${n}>${part}</code>` : part));
