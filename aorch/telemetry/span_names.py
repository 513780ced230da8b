"""The names of attributes of spans.

`gen_ai.*`: OpenTelemetry's semantic conventions for generative AI v0.1.0
(https://github.com/open-telemetry/semantic-conventions-genai). They are constants here because the package
`opentelemetry-semantic-conventions` marks them as deprecated. `openinference.*` and those after it: OpenInference
(https://github.com/Arize-ai/openinference). `aorch.*` are aorch's own.
"""

GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
GEN_AI_AGENT_NAME = "gen_ai.agent.name"
GEN_AI_CONVERSATION_ID = "gen_ai.conversation.id"
GEN_AI_PROVIDER_NAME = "gen_ai.provider.name"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS = "gen_ai.usage.cache_read.input_tokens"
ERROR_TYPE = "error.type"
INVOKE_AGENT, CHAT = "invoke_agent", "chat"
"""Values of GEN_AI_OPERATION_NAME."""

OPENINFERENCE_SPAN_KIND = "openinference.span.kind"
AGENT, CHAIN, LLM = "AGENT", "CHAIN", "LLM"
"""Values of OPENINFERENCE_SPAN_KIND."""
OPENINFERENCE_PROJECT_NAME = "openinference.project.name"
SESSION_ID = "session.id"
AGENT_NAME = "agent.name"
INPUT_VALUE, INPUT_MIME_TYPE = "input.value", "input.mime_type"
OUTPUT_VALUE, OUTPUT_MIME_TYPE = "output.value", "output.mime_type"
LLM_MODEL_NAME = "llm.model_name"
LLM_TOKEN_COUNT_PROMPT = "llm.token_count.prompt"
LLM_TOKEN_COUNT_COMPLETION = "llm.token_count.completion"
LLM_TOKEN_COUNT_TOTAL = "llm.token_count.total"

AORCH_CONTRACT_ID = "aorch.contract_id"
AORCH_RESPONSE_ID = "aorch.response_id"
AORCH_CAPABILITY = "aorch.capability"
AORCH_STATUS = "aorch.status"
AORCH_FROM_AGENT = "aorch.from_agent"
AORCH_PRIORITY = "aorch.priority"
AORCH_ATTEMPT = "aorch.attempt"

SERVICE_NAME, SERVICE_VERSION = "service.name", "service.version"
