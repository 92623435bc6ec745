"""The catalogue of problems: what can go wrong at the REST door, why, and what to do.

In charge of: slugs (stable: programs compare them), titles, statuses, and the words of the pages. Not in charge of:
responses (`problems.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KINDS", "ProblemKind"]


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind of problem."""

    slug: str
    status: int
    title: str
    cause: str
    fix: str
    generic: bool = False  #: stands for its status when the framework says no more


_ALL = (
    # ------------------------------------------------------------------------------------------ the request itself
    ProblemKind(
        "bad-request",
        400,
        "Bad request",
        "The request cannot be read as HTTP or as what its headers announce.",
        "Compare the request with the API documentation at /docs.",
        generic=True,
    ),
    ProblemKind(
        "malformed-body",
        400,
        "Malformed body",
        "The body is not valid JSON, CSV or UTF-8.",
        "Send valid JSON with Content-Type: application/json.",
    ),
    ProblemKind(
        "cursor-mismatch",
        400,
        "Cursor does not fit",
        "The cursor was made for other filters, another order or another collection, or is damaged.",
        "Start again without a cursor, and repeat the same filters with each next_cursor.",
    ),
    ProblemKind(
        "idempotency-key-missing",
        400,
        "Idempotency-Key is missing",
        "Requests that send messages must carry an Idempotency-Key, so that a repeated one is not sent twice.",
        "Add a header Idempotency-Key with a new random value, and repeat it when you repeat the request.",
    ),
    ProblemKind(
        "not-found",
        404,
        "Not found",
        "There is nothing at this address, or nothing that you may see.",
        "Check the path and the id. Ids are shown by the list of the collection.",
        generic=True,
    ),
    ProblemKind(
        "method-not-allowed",
        405,
        "Method not allowed",
        "The address exists, but not with this method.",
        "The header Allow names the methods that exist.",
        generic=True,
    ),
    ProblemKind(
        "not-acceptable",
        406,
        "Not acceptable",
        "The wanted format is not offered.",
        "Ask for application/json.",
        generic=True,
    ),
    ProblemKind(
        "request-timeout",
        408,
        "Request took too long",
        "Headers or body did not arrive within the time limit.",
        "Send again over a faster connection, or in smaller pieces.",
        generic=True,
    ),
    ProblemKind(
        "content-too-large",
        413,
        "Content too large",
        "The body is larger than this center takes.",
        "Split it; the limits are http.body_max_octets and http.import_max_octets.",
        generic=True,
    ),
    ProblemKind(
        "unsupported-media-type",
        415,
        "Unsupported media type",
        "The body is of a type that is not read here.",
        "Send the Content-Type that the API documentation names.",
        generic=True,
    ),
    ProblemKind(
        "invalid-request",
        422,
        "Invalid request",
        "A field or parameter is missing, unknown, of the wrong type or out of range.",
        "errors names each one by pointer or parameter.",
        generic=True,
    ),
    ProblemKind(
        "idempotency-key-reused",
        422,
        "Idempotency-Key was used for another request",
        "The same key came with a different body within 24 hours.",
        "Use a new key for a new request; repeat the body exactly when you repeat a request.",
    ),
    # ------------------------------------------------------------------------------------------------- who is asking
    ProblemKind(
        "unauthenticated",
        401,
        "Not signed in",
        "There are no credentials, or they are wrong, ended or revoked.",
        "Sign in again, or send a valid key as Authorization: Bearer.",
        generic=True,
    ),
    ProblemKind(
        "sign-in-failed",
        401,
        "Name or password is wrong",
        "No operator signs in with this name and password.",
        "Try again. `restante` on the center's machine can set a new password.",
    ),
    ProblemKind(
        "forbidden",
        403,
        "Not allowed",
        "You are known, but may not do this.",
        "Ask an operator with the permission that the problem names.",
        generic=True,
    ),
    ProblemKind(
        "cross-site",
        403,
        "Request from another site",
        "A cookie came with a request that does not prove to be from this center's own pages.",
        "Use the center's pages, or an access token in the Authorization header.",
    ),
    ProblemKind(
        "address-not-allowed",
        403,
        "Address not allowed",
        "The account may not be used from this address.",
        "Add the network to the account's allowed_networks.",
    ),
    ProblemKind(
        "reason-missing",
        403,
        "A reason is needed",
        "Reading what people wrote needs a reason, which is recorded.",
        "Send the header X-Reason.",
    ),
    ProblemKind(
        "fresh-code-needed",
        403,
        "Sign in again first",
        "This needs a session that began within five minutes.",
        "Ask for a new code, sign in, and repeat.",
    ),
    ProblemKind(
        "otp-invalid",
        400,
        "Wrong code",
        "The code does not match.",
        "Check the newest message; attempts_left says how often you may try.",
    ),
    ProblemKind(
        "otp-expired",
        400,
        "Code is no longer valid",
        "It is too old, was used, or a newer one was sent.",
        "Ask for a new code.",
    ),
    ProblemKind(
        "otp-exhausted", 400, "Too many wrong codes", "Five wrong codes were tried.", "Ask for a new code."
    ),
    ProblemKind(
        "otp-too-many",
        429,
        "Too many codes asked for",
        "A limit on one-time codes was met.",
        "Wait as long as Retry-After says.",
    ),
    # ----------------------------------------------------------------------------------------------------- conflicts
    ProblemKind(
        "conflict",
        409,
        "Conflict",
        "Something changed at the same time, or the object's state does not allow this.",
        "Read the object again and decide anew.",
        generic=True,
    ),
    ProblemKind(
        "key-taken",
        409,
        "Already exists",
        "Another object of this kind has the same name.",
        "Choose another name, or edit the existing object.",
    ),
    ProblemKind(
        "in-flight",
        409,
        "Still under way",
        "A request with this Idempotency-Key has not been answered yet.",
        "Repeat the request in a second.",
    ),
    ProblemKind(
        "gone",
        410,
        "Gone",
        "It was here once and is not any more.",
        "Read the collection again.",
        generic=True,
    ),
    ProblemKind(
        "state-too-old",
        410,
        "State is too old",
        "Changes are not kept that far back.",
        "Read the whole mailbox once, then go on with its state.",
    ),
    ProblemKind(
        "version-stale",
        412,
        "Changed by somebody else",
        "The object has a newer version than the one in If-Match.",
        "Read it again, compare, and repeat with the new ETag.",
        generic=True,
    ),
    ProblemKind(
        "version-missing",
        428,
        "If-Match is missing",
        "Objects are only changed by those who know their version.",
        "Read the object and send its ETag as If-Match.",
        generic=True,
    ),
    # -------------------------------------------------------------------------------------------------------- limits
    ProblemKind(
        "too-many-requests",
        429,
        "Too many requests",
        "More requests came than the policy in RateLimit-Policy allows.",
        "Wait as long as Retry-After says.",
        generic=True,
    ),
    ProblemKind(
        "too-many-streams",
        429,
        "Too many event streams",
        "One person, or everybody together, has too many open.",
        "Close one, or use GET …/changes with Prefer: wait=30.",
    ),
    ProblemKind(
        "header-too-large",
        431,
        "Headers too large",
        "The request's headers are larger than this center takes.",
        "Send fewer or shorter headers.",
        generic=True,
    ),
    # -------------------------------------------------------------------------------------------------------- sending
    ProblemKind(
        "message-refused",
        422,
        "Message refused",
        "A rule of this center refuses the message; reason says which.",
        "Read reason and detail; ask the operator if they do not help.",
    ),
    ProblemKind(
        "throttled",
        429,
        "Account sends too fast",
        "The account's throughput is used up.",
        "Wait as long as Retry-After says.",
    ),
    # ---------------------------------------------------------------------------------------------------- the center
    ProblemKind(
        "internal",
        500,
        "Internal error",
        "The center has a fault of its own; it is in its log under trace_id.",
        "Repeat later; tell the operator the trace_id.",
        generic=True,
    ),
    ProblemKind(
        "not-offered",
        501,
        "Not offered",
        "This center runs without the part that does this.",
        "Use another way; the documentation says which.",
        generic=True,
    ),
    ProblemKind(
        "store-unavailable",
        503,
        "Nothing can be stored now",
        "The database is full, away or being restarted.",
        "Repeat as Retry-After says; /readyz on the operations port says why.",
        generic=True,
    ),
)

#: slug -> kind
KINDS: Mapping[str, ProblemKind] = {kind.slug: kind for kind in _ALL}
