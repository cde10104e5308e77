"""OpenAI's own SDK for Azure takes a simulated upstream for a resource of Azure's."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from proxy.demo.simulator import Simulator

ASK: dict[str, Any] = {"model": "my deployment", "messages": [{"role": "user", "content": "Where?"}]}
SAID = "This is my deployment, served by north. You asked: Where?"


async def test_a_deployment_by_its_path(north: Simulator) -> None:
    """With an API version, the path says which; a stream begins with a chunk about the prompt."""
    base = (await north.start()).removesuffix("/v1")
    async with AsyncAzureOpenAI(azure_endpoint=base, api_key="k", api_version="2024-10-21", max_retries=0) as client:
        raw = await client.chat.completions.with_raw_response.create(**ASK)
        assert raw.parse().choices[0].message.content == SAID
        assert "apim-request-id" in raw.headers
        chunks = [chunk async for chunk in await client.chat.completions.create(**ASK, stream=True)]
    assert (chunks[0].choices, chunks[0].model) == ([], "")
    assert "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices) == SAID
    assert north.requests[-1].path == "/openai/deployments/my deployment/chat/completions".replace(" ", "%20")


async def test_a_deployment_by_its_name(north: Simulator) -> None:
    """Without one, the body does, as at OpenAI."""
    base = (await north.start()).removesuffix("/v1")
    async with AsyncOpenAI(base_url=f"{base}/openai/v1", api_key="token", max_retries=0) as client:
        answer = await client.chat.completions.create(**ASK)
    assert answer.choices[0].message.content == SAID


async def test_what_is_not_there() -> None:
    """A deployment that was never made is not found, in Azure's words."""
    async with Simulator("south", models=("a",)) as south:
        base = south.base_url.removesuffix("/v1")
        async with AsyncAzureOpenAI(
            azure_endpoint=base, api_key="k", api_version="2024-10-21", max_retries=0
        ) as client:
            with pytest.raises(openai.NotFoundError) as caught:
                await client.chat.completions.create(**ASK)
    assert caught.value.code == "DeploymentNotFound"
