// SPDX-License-Identifier: Apache-2.0
//
// What can go wrong with input, and what may be done about it.
//
// Every failure that a client, a server, a file or the kernel can cause is a value of type Error inside a Result<T>. An Error
// answers the two questions that a proxy must ask: whose fault was it (Origin: decides between 4xx, 502/504 and 500), and may
// the request be tried again (Retry). Broken invariants of our own are not Errors: see assert.h.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

namespace ladle {

/// Whose fault a failure is.
enum class Origin : std::uint8_t { client, server, local };

/// Whether the work that failed may be tried again.
enum class Retry : std::uint8_t {
    no,           ///< the same attempt would fail again, or may have had an effect
    other_server, ///< nothing reached the server: any server may be tried, whatever the method
    reused_only,  ///< the failure is of a reused idle connection before any byte came back: try a fresh one if the request is safe
};

/// One failure. `code` is an errno value where the kernel said it, else 0. `detail` is for people: one clause, no full stop.
struct [[nodiscard]] Error {
    int code = 0;
    Origin origin = Origin::local;
    Retry retry = Retry::no;
    std::string detail;
};

/// Either a T or the Error that kept it from being made.
template <typename T>
using Result = std::expected<T, Error>;

/// Shorthand: `return fail(Origin::client, "no such thing");`
inline std::unexpected<Error> fail(Origin origin, std::string detail, Retry retry = Retry::no)
{
    return std::unexpected(Error{0, origin, retry, std::move(detail)});
}

/// An Error of this machine from the current or a given errno: "open /x: No such file or directory".
std::unexpected<Error> fail_errno(std::string what, int code);

} // namespace ladle
