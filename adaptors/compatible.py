"""The providers that speak as OpenAI does, one row each: where they are, and where their key is read from.

A new provider is a new row. `base_url` includes the version as the provider writes it. The variables are those that the
provider's own SDK or documentation names, and none where it names none. A variable for the address is read only where it
means the same as here: GROQ_BASE_URL and CEREBRAS_BASE_URL, for one, are addresses without the version.

Which of them also serve `/responses` is said only where their documents say it. What differs beyond the columns is a class
of its own, as in `xai.py` and `azure.py`.
"""

from __future__ import annotations

from typing import Final

from adaptors.openai import CHAT, RESPONSES, OpenAICompatible
from adaptors.translation.chat_request import SHARED_FIELDS

_BOTH: Final = (CHAT, RESPONSES)

COMPATIBLE: Final[tuple[OpenAICompatible, ...]] = (
    # openai-python, src/openai/_client.py
    OpenAICompatible(
        *("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        dialects=_BOTH,
        model_families=("gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-", "dall-e-", "whisper-", "tts-"),
        limit_field="max_completion_tokens",
        counts_tokens=True,
        shared_fields=SHARED_FIELDS,
    ),
    # https://api-docs.deepseek.com: "/v1" is accepted and has nothing to do with the version of a model
    # and its thinking mode wants the reasoning_content of the tool calls of a turn back
    OpenAICompatible(
        *("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        model_families=("deepseek-",),
        replays_reasoning=True,
    ),
    # https://github.com/mistralai/client-python, README; it counts unasked, and answers 422 to stream_options
    # as github.com/openai/openai-agents-python/issues/442 tells; its seed has a name of its own
    # (https://docs.mistral.ai/api, random_seed)
    OpenAICompatible(
        *("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        model_families=("mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-", "voxtral-"),
        seed_field="random_seed",
        takes_stream_options=False,
    ),
    # https://console.groq.com/docs/openai
    OpenAICompatible("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", dialects=_BOTH),
    # https://openrouter.ai/docs/community/openai-sdk; it says the effort to each model in that model's own way
    # (https://openrouter.ai/docs/use-cases/reasoning-tokens), takes marks of what may be cached
    # (https://openrouter.ai/docs/features/prompt-caching) and leaves out what a model does not know
    # (https://openrouter.ai/docs/api-reference/parameters)
    OpenAICompatible(
        *("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        effort_models="",
        takes_marks=True,
        shared_fields=SHARED_FIELDS,
    ),
    # together-py, src/together/_client.py
    OpenAICompatible("together", "https://api.together.ai/v1", "TOGETHER_API_KEY", "TOGETHER_BASE_URL"),
    # https://docs.fireworks.ai/tools-sdks/openai-compatibility
    OpenAICompatible("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    # https://platform.kimi.ai/docs/api/overview; mainland China: https://api.moonshot.cn/v1
    OpenAICompatible(
        *("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
        dialects=_BOTH,
        model_families=("kimi-", "moonshot-"),
        replays_reasoning=True,
    ),
    # https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope; other regions have hosts
    # of their own, e.g. https://dashscope-intl.aliyuncs.com/compatible-mode/v1
    OpenAICompatible("qwen", "https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    # z-ai-sdk-python, src/zai/_client.py; outside mainland China: https://api.z.ai/api/paas/v4
    OpenAICompatible("zhipu", "https://open.bigmodel.cn/api/paas/v4", "ZAI_API_KEY", "ZAI_BASE_URL"),
    # https://www.volcengine.com/docs/82379/1330310
    OpenAICompatible("doubao", "https://ark.cn-beijing.volces.com/api/v3", "ARK_API_KEY"),
    # https://docs.siliconflow.cn/en/userguide/quickstart; outside mainland China: https://api.siliconflow.com/v1
    OpenAICompatible("siliconflow", "https://api.siliconflow.cn/v1", "SILICONFLOW_API_KEY"),
    # https://docs.cohere.com/docs/compatibility-api; the variable is cohere-python's
    OpenAICompatible("cohere", "https://api.cohere.ai/compatibility/v1", "CO_API_KEY"),
    # perplexity-py, src/perplexity/_client.py: no version in the address; each chunk of a stream has the counts, and the
    # API reference knows no stream_options (https://docs.perplexity.ai/api-reference/chat-completions-post)
    OpenAICompatible(
        *("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", "PERPLEXITY_BASE_URL"),
        model_families=("sonar",),
        effort_models=r"sonar-(?:reasoning|deep-research)",
        takes_stream_options=False,
    ),
    # cerebras-cloud-sdk-python, src/cerebras/cloud/sdk/_client.py, whose paths begin with /v1
    OpenAICompatible("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    # Servers on one's own machine. https://docs.ollama.com/api/authentication: no key is wanted here; OLLAMA_API_KEY is
    # for https://ollama.com/v1
    OpenAICompatible("ollama", "http://localhost:11434/v1", "", dialects=_BOTH),
    # https://docs.vllm.ai/en/stable/serving/openai_compatible_server/; the variable is the server's (vllm/envs.py)
    OpenAICompatible("vllm", "http://localhost:8000/v1", "VLLM_API_KEY", dialects=_BOTH),
    # llama.cpp, tools/server/README.md: "--api-key KEY (env: LLAMA_API_KEY)"
    OpenAICompatible("llamacpp", "http://localhost:8080/v1", "LLAMA_API_KEY"),
    # https://lmstudio.ai/docs/developer/openai-compat
    OpenAICompatible("lmstudio", "http://localhost:1234/v1", "LM_API_TOKEN", dialects=_BOTH),
)
