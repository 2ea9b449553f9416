// SPDX-License-Identifier: Apache-2.0
//
// Whether a shared cache may store a response (RFC 9111 §3), how long it is fresh (§4.2), how old it is (§4.2.3), and whether it
// may answer a request now (§4, §4.2.4, RFC 5861, 8246). StoredFreshness is what is kept of this with an object, in shared memory;
// judge() is the hit path: no allocation, no look at the fields.
//
// Pure: every time comes in as Unix milliseconds. All rules that depend on the operator are in StoreRules; without them it is the
// RFC's.
#pragma once

#include "common/http/cache_control.h"
#include "common/http/head.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

namespace ladle::http {

/// Why a response is not stored. `none`: store it.
enum class NotStored : std::uint8_t {
    none,
    method,           ///< not GET, nor a POST that RFC 9110 §9.3.3 lets through; answers to HEAD update, they are not stored
    request_no_store, ///< RFC 9111 §5.2.1.5
    status,           ///< not final, or meaningful only for this one request: 1xx 304 407 412 416 421 and the like
    not_understood,   ///< must-understand, and we don't know the status (§5.2.2.3)
    no_store,
    is_private,
    authorization, ///< the request had Authorization and the response does not allow it (§3.5)
    vary_any,      ///< Vary: * never matches (§4.1)
    set_cookie,    ///< Set-Cookie without explicit freshness: see CookieRule
    partial,       ///< 206 and parts are not wanted, or its Content-Range is unusable (§3.3)
    no_freshness,  ///< nothing says how long, and there is nothing to revalidate with
    stale,         ///< was stale on arrival and has no validator, nor may be used stale
};

/// For `detail=` in Cache-Status: "NO_STORE"-like words are others' custom; ours are lower-case tokens: "no-store", "vary-any", …
std::string_view name_of(NotStored reason) noexcept;

/// Where the lifetime came from; for `ladle cache` and logs.
enum class LifetimeSource : std::uint8_t { none, ttl, s_maxage, max_age, expires, heuristic, default_ttl, negative };
std::string_view name_of(LifetimeSource source) noexcept;

/// What Set-Cookie means for storing. The RFC lets a cache store it like any other field (RFC 9111 §7.3 only asks servers to say
/// so). The default is the careful half of that: only where the server itself said how long, by max-age, s-maxage, Expires, public,
/// CDN-Cache-Control; never by heuristics or by the operator's ttl, since then one client's session would go to all.
enum class CookieRule : std::uint8_t {
    if_explicit,
    never,
    ignore, ///< as if it were not there; the caller should then not store the field
};

/// A lifetime for a range of statuses, for responses that do not give one themselves.
struct StatusTtl {
    std::uint16_t first;
    std::uint16_t last;
    std::uint32_t seconds;
};

/// What is negatively cached by default.
inline constexpr StatusTtl kNegativeTtls[] = {{404, 404, 10}, {410, 410, 10}};

/// The operator's rules for one route. Default: the RFC's.
struct StoreRules {
    /// takes the place of the lifetime that a 2xx or 3xx gives itself; counts from the arrival. Does not override what forbids
    /// storing
    Seconds ttl;
    Seconds default_ttl;                    ///< for a heuristically cacheable 2xx or 3xx that gives none and has no Last-Modified
    Seconds stale_while_revalidate;         ///< takes the place of the response's own
    Seconds stale_if_error;                 ///< same
    std::uint32_t heuristic_percent = 10;   ///< of Date − Last-Modified; 0: no heuristics
    std::uint32_t heuristic_most_s = 86400; ///< no longer than that
    std::span<const StatusTtl> negative = kNegativeTtls; ///< the first that fits; statuses of 400 and more
    CookieRule cookies = CookieRule::if_explicit;
    bool stores_post = true; ///< answers to POST with explicit freshness and a Content-Location of the same URL (RFC 9110 §9.3.3)
    bool stores_parts = false; ///< 206
    /// RFC 9111 §4.2.4 counts s-maxage among what forbids serving stale; some applications send it together with
    /// stale-while-revalidate and mean both. True: where the response has both, the latter counts.
    bool is_lax_with_s_maxage = false;
};

/// What is kept with a stored response. 24 bytes, in shared memory and in files: changes need a new layout version there.
struct StoredFreshness {
    enum Flag : std::uint16_t {
        kMustRevalidate = 1, ///< must-revalidate, proxy-revalidate or s-maxage: never stale (§4.2.4)
        kAlwaysValidate = 2, ///< no-cache: never without validation, fresh or not; and never stale
        kImmutable = 4,      ///< RFC 8246
        kHeuristic = 8,      ///< the lifetime is a guess
        kHasValidator = 16,  ///< ETag or Last-Modified: can be revalidated
        kWasAuthorized = 32, ///< the request had Authorization
        kIsPartial = 64,     ///< a 206
    };
    std::int64_t born_ms = 0;     ///< when its age was 0: time of the response − corrected_initial_age (§4.2.3)
    std::uint32_t lifetime_s = 0; ///< freshness_lifetime (§4.2.1), at most 2^31
    std::uint32_t stale_while_revalidate_s = 0;
    std::uint32_t stale_if_error_s = 0;
    std::uint16_t flags = 0;
    std::uint16_t status = 0;

    bool has(Flag flag) const noexcept { return (flags & flag) != 0; }
};
static_assert(std::is_trivially_copyable_v<StoredFreshness> && sizeof(StoredFreshness) == 24);

/// One exchange with a server that is over up to the response's head.
struct Exchanged {
    Method method;
    const Fields& request;               ///< as the client sent it: Authorization
    const RequestDirectives& directives; ///< of the request; an empty one to ignore the client's wishes
    std::string_view url;                ///< "http://host/path?query", for POST's Content-Location; empty: POST is not stored
    std::uint16_t status;
    const Fields& response;
    const Policy& policy;     ///< find_policy(response)
    std::int64_t request_ms;  ///< when the request was sent
    std::int64_t response_ms; ///< when the head of the response had come
};

struct StoreDecision {
    NotStored reason = NotStored::none;
    LifetimeSource source = LifetimeSource::none;
    StoredFreshness freshness; ///< valid if it may be stored
    bool may_store() const noexcept { return reason == NotStored::none; }
};

/// RFC 9111 §3, §4.2, RFC 9213 §2.2.
StoreDecision decide_storing(const Exchanged& exchanged, const StoreRules& rules);

/// A 304 (or the answer to a HEAD) whose fields were merged into the stored ones (§4.3.4, §4.3.5).
struct Refreshed {
    const StoredFreshness& old;
    const Fields& merged;   ///< the stored fields after the update: stored_fields.h
    const Fields& received; ///< those of the 304, for its Age
    const Policy& policy;   ///< find_policy(merged)
    std::int64_t request_ms;
    std::int64_t response_ms;
};

/// The freshness of the result, or why it may no longer be stored (the 304 brought no-store, say).
StoreDecision decide_refreshing(const Refreshed& refreshed, const StoreRules& rules);

/// After a validation that must not change any stored field (a 304 that names another validator, §4.3.4): age counts from
/// the validation (§4.2.3: "generated by, or successfully validated with, the origin server"), all else stays.
StoredFreshness touched(const StoredFreshness& old, std::int64_t request_ms, std::int64_t response_ms) noexcept;

/// Age (RFC 9111 §5.1) that came with a message, in seconds: of several values the first; what is no number is ignored (0). A
/// number with parameters behind it ("7200;a=b") is taken, as the older side is the safe one. At most 2^31.
std::int64_t received_age(const Fields& response) noexcept;

/// In milliseconds, never negative; 2^31 s where the clock was set back past its birth, so that it counts as stale.
std::int64_t age_at(const StoredFreshness& stored, std::int64_t now_ms) noexcept;
/// What the Age field says: whole seconds, at most 2^31.
std::uint32_t age_field(const StoredFreshness& stored, std::int64_t now_ms) noexcept;
/// freshness_lifetime > current_age (§4.2).
bool is_fresh(const StoredFreshness& stored, std::int64_t now_ms) noexcept;
/// Seconds of freshness left, negative when stale: `ttl=` of Cache-Status.
std::int64_t remaining_s(const StoredFreshness& stored, std::int64_t now_ms) noexcept;

/// Whether all that `older` may be used for without asking a server ends no later than what `newer` may be used for.
bool ends_no_later(const StoredFreshness& older, const StoredFreshness& newer) noexcept;

/// Whether `older`, of the same representation as `newer`, may from `now_ms` on be used for nothing that `newer` may not be used
/// for: it is stale, and what else is allowed with it ends earlier. So it may be kept in its place: at worst it is validated once
/// more.
bool permits_no_more(const StoredFreshness& older, const StoredFreshness& newer, std::int64_t now_ms) noexcept;

/// Whether an object was softly purged: it counts as stale since now, whatever its age.
enum class Purged : std::uint8_t { no, softly };

/// What may be done with a stored response that matches a request.
enum class Reuse : std::uint8_t {
    fresh,              ///< answer with it
    stale_allowed,      ///< stale, but the client takes it (max-stale)
    stale_revalidating, ///< stale: answer with it and revalidate in the background (stale-while-revalidate)
    validate,           ///< ask the server first; see judge_error() if that fails
};

/// Why `validate`: `fwd=` of Cache-Status.
enum class ValidateReason : std::uint8_t { none, stale, request, no_cache };

struct Judgement {
    Reuse reuse;
    ValidateReason reason;
};

/// RFC 9111 §4, §4.2.4, §5.2.1; RFC 5861 §3; RFC 8246 §2 (an immutable response that is fresh is not validated for a request's
/// max-age). For only-if-cached the caller answers 504 where this says `validate` (or there is no object).
Judgement judge(const StoredFreshness& stored, const RequestDirectives& request, std::int64_t now_ms,
                Purged purged = Purged::no) noexcept;

/// What went wrong when the server was asked.
enum class ServerFailure : std::uint8_t {
    no_answer,   ///< no connection, a reset, a timeout: "disconnected" (§4.2.4)
    error_status ///< 500, 502, 503, 504 (RFC 5861 §4)
};

/// Whether the stored response may be served instead of the failure. With `no_answer`: as long as its staleness is below
/// `disconnected_s` or its stale-if-error (the request's may only widen it); with an error status: stale-if-error only. Never if it
/// must be revalidated.
bool may_serve_on_error(const StoredFreshness& stored, const RequestDirectives& request, std::int64_t now_ms, ServerFailure failure,
                        std::uint32_t disconnected_s) noexcept;

/// 500, 502, 503, 504.
bool is_server_error(std::uint16_t status) noexcept;
/// RFC 9110 §15.1: 200 203 204 206 300 301 308 404 405 410 414 501.
bool is_heuristically_cacheable(std::uint16_t status) noexcept;
/// A status whose caching rules we implement (must-understand).
bool is_understood(std::uint16_t status) noexcept;

} // namespace ladle::http
