// SPDX-License-Identifier: Apache-2.0
//
// What a message says about caching: Cache-Control of responses and requests (RFC 9111 §5.2, 5861, 8246), the Structured Field
// CDN-Cache-Control (RFC 9213) and Surrogate-Control (W3C Edge Architecture), and which of them governs a response. Pure; values
// are views into the message's bytes and live as long as they.
//
// Where the text is wrong, the safe side is taken (RFC 9111 §4.2.1): a freshness directive that is no number, or that stands twice
// with different values, makes the response stale; a directive that forbids is honoured with whatever argument, also inside a
// malformed one ("max-age=1 no-store"); one that permits is honoured only in its exact form. Numbers past 2^31 are 2^31 (§1.2.2).
// Both the token and the quoted form of an argument are read (§5.2); spaces around '=' are an error.
#pragma once

#include "common/http/fields.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace ladle::http {

/// A time in seconds that a directive gives, 0 … 2^31, or why there is none.
class Seconds {
public:
    static constexpr std::int64_t kMost = std::int64_t{1} << 31;
    constexpr Seconds() noexcept = default;
    constexpr explicit Seconds(std::int64_t value) noexcept : value_(value < kMost ? value : kMost) {}
    static constexpr Seconds invalid() noexcept
    {
        Seconds seconds;
        seconds.value_ = kInvalid;
        return seconds;
    }

    constexpr bool is_given() const noexcept { return value_ != kAbsent; } ///< the directive is there, whatever its value
    constexpr bool is_valid() const noexcept { return value_ >= 0; }
    constexpr std::int64_t value_or(std::int64_t otherwise) const noexcept { return is_valid() ? value_ : otherwise; }
    constexpr bool operator==(const Seconds&) const noexcept = default;

private:
    static constexpr std::int64_t kAbsent = -1;
    static constexpr std::int64_t kInvalid = -2;
    std::int64_t value_ = kAbsent;
};

/// The argument of `no-cache="a, b"` or `private="a"`: field names, up to four arguments of them.
class FieldList {
public:
    /// False if it does not fit or is no list of names: the directive then counts as unqualified.
    bool add(std::string_view names) noexcept;
    bool empty() const noexcept { return count_ == 0; }
    /// Whether the list names this field (without case).
    bool has(std::string_view name) const noexcept;

private:
    std::array<std::string_view, 4> texts_;
    std::uint8_t count_ = 0;
};

/// A response's directives. Absent: false, or a Seconds that is not given.
struct ResponseDirectives {
    bool no_store = false;
    bool no_cache = false;   ///< unqualified: the whole response
    bool is_private = false; ///< unqualified
    bool is_public = false;
    bool must_revalidate = false;
    bool proxy_revalidate = false;
    bool must_understand = false;
    bool no_transform = false;
    bool immutable = false;
    Seconds max_age;
    Seconds s_maxage;
    Seconds stale_while_revalidate; ///< never invalid: nonsense counts as absent
    Seconds stale_if_error;         ///< same
    FieldList no_cache_fields;      ///< must not be reused without validation; Ladle does not store them
    FieldList private_fields;       ///< must not be stored
};

/// A request's directives (RFC 9111 §5.2.1): wishes of the client.
struct RequestDirectives {
    bool no_cache = false; ///< also Pragma: no-cache without Cache-Control (§5.4)
    bool no_store = false;
    bool only_if_cached = false;
    bool no_transform = false;
    bool any_stale = false; ///< max-stale without a value
    Seconds max_age;        ///< invalid counts as 0
    Seconds max_stale;      ///< never invalid
    Seconds min_fresh;      ///< never invalid
    Seconds stale_if_error; ///< never invalid
};

/// Adds one Cache-Control field line of a response; call once per line, in order.
void read_cache_control(std::string_view line, ResponseDirectives& out) noexcept;
/// Adds one Cache-Control field line of a request.
void read_cache_control(std::string_view line, RequestDirectives& out) noexcept;

/// All of a request: Cache-Control, or Pragma where there is none. Costs two bit tests when it has neither.
RequestDirectives request_directives(const Fields& request) noexcept;

/// Whose directives govern a response.
enum class Governor : std::uint8_t {
    none, ///< no such field, or nothing in it that says anything
    cache_control,
    cdn_cache_control, ///< Cache-Control and Expires are then ignored (RFC 9213 §2.2)
    surrogate_control, ///< same
};

struct Policy {
    Governor governor = Governor::none;
    ResponseDirectives directives;
    bool has_targeted() const noexcept
    {
        return governor == Governor::cdn_cache_control || governor == Governor::surrogate_control;
    }
};

/// The name by which Surrogate-Control may target Ladle: `max-age=60;ladle`. What goes to the servers as
/// `Surrogate-Capability: ladle="Surrogate/1.0"`.
constexpr std::string_view kSurrogateName = "ladle";

/// The directives that govern: the first of CDN-Cache-Control, Surrogate-Control and Cache-Control that is there, well-formed and
/// says something. CDN-Cache-Control is a dictionary (RFC 8941): if any line of it does not parse, the whole field is ignored; a
/// directive whose value has the wrong type is. Surrogate-Control: no-store and max-age=N+M (M: may be served stale while
/// revalidating and on error), where a directive for `ladle` counts before one for everybody, and those for others don't.
Policy find_policy(const Fields& response) noexcept;

/// CDN-Cache-Control alone. False if it is malformed, empty or absent (`out` is then unspecified).
bool read_cdn_cache_control(const Fields& response, ResponseDirectives& out) noexcept;
/// Surrogate-Control alone. False if nothing in it is for us.
bool read_surrogate_control(const Fields& response, ResponseDirectives& out) noexcept;

} // namespace ladle::http
