"""The values that cross the line between the relay and its adaptors.

Everything here is frozen and holds no I/O, no clock and no randomness: what an adaptor needs of these comes in as a
value, and what it decides goes out as one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

Header = tuple[bytes, bytes]
"""One header field as it stood on the wire: the name in lower case, the value without outer white space."""

Headers = tuple[Header, ...]
"""Header fields in their order; a name may come more than once."""


class BodyKind(enum.Enum):
    """What a path takes as its request body, hence whether it is read whole or streamed up."""

    NONE = "none"
    """GET, HEAD, DELETE and the like: whatever little body there is goes along."""
    JSON = "json"
    """Read whole: the relay looks at `model` and `stream`, and can send the body again."""
    MULTIPART_MODEL = "multipart"
    """A form that names the model somewhere, maybe last: read whole, can be sent again."""
    UPLOAD = "upload"
    """Streamed up with back-pressure, one attempt, on a new connection."""
    BY_TYPE = "by_type"
    """JSON is read whole, everything else streams up: paths that are known only by their family. An endpoint may say
    this; for a request `endpoints.body_kind` says which of the others it is."""


@attrs.frozen
class Endpoint:
    """One path of a provider's API, as the relay needs to know it.

    `wire` names the module that reads the body and the answer (`openai_chat`, ...), or is None where no wire reads
    them: such an answer goes through as it comes, and its own framing proves that it is complete.
    `stored` names the kind of object that the path makes or addresses (`response`, `file`, ...), or is None.
    """

    name: str
    methods: tuple[str, ...]
    template: str
    body: BodyKind
    wire: str | None = None
    stored: str | None = None
    model_required: bool = False
    model_in_path: bool = False
    """The path names the model, and says whether a stream is wanted."""


@attrs.frozen
class Fetched:
    """What stood at an address that a request points to: its media type, and its bytes in base64."""

    media_type: str
    data: str = attrs.field(repr=False)


@attrs.frozen
class Call:
    """What one client asks for, once its body is here (`body` is None while an upload streams).

    `path` is the endpoint's path below the version prefix, percent-encoded as it came: `/chat/completions`.
    `query` is the raw query string without `?` and without the client's key. `headers` are the client's end-to-end
    headers, less its key and cookies.
    """

    endpoint: Endpoint
    dialect: str
    method: bytes
    path: bytes
    query: bytes
    headers: Headers
    body: bytes | None
    model: str | None = None
    stream: bool = False
    include_usage: bool = False
    """The client itself asked for the usage chunk (`stream_options.include_usage`)."""
    created: int = 0
    """When the call was made, in seconds since 1970: for answers of providers that do not say."""
    fetched: Mapping[str, Fetched] = attrs.field(factory=dict, repr=False)
    """By their addresses: what the adaptor wanted fetched (`protocol.WantsFetched`)."""


@attrs.frozen
class ProviderAccount:
    """What an adaptor may know of the channel it speaks for. The key is shown to nothing else."""

    base_url: str
    key: str = attrs.field(repr=False)
    ask_usage: bool = False
    options: Mapping[str, str] = attrs.field(factory=dict)
    """Free settings of the channel that only its adaptor reads (`api_version`, ...)."""


@attrs.frozen
class Lender:
    """Who lends the token that stands in the place of a key: `google`, to the credentials in a file, or this machine's."""

    kind: str
    source: str = ""


@attrs.frozen
class UpstreamRequest:
    """What to send to a provider. `url` is absolute. `body` is None when the client's upload is to be streamed."""

    method: bytes
    url: str
    headers: Headers
    body: bytes | None = attrs.field(repr=False)
    dropped: tuple[str, ...] = ()
    """Request fields that the provider's wire cannot express and that were left out (`x-relay-dropped`)."""


@attrs.frozen
class Usage:
    """Tokens as the provider counted them, brought to one rule: input includes cached, output includes reasoning."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_written_tokens: int = 0
    """Of the input, what was put into the cache: some providers charge more for it."""
