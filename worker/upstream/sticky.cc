// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/sticky.h"

#include "common/http/cache_control.h"
#include "common/http/cookies.h"
#include "common/http/date.h"

#include <ctime>

namespace ladle::worker {

namespace {

using http::FieldName;

/// Whether these directives, for one kind of caches, let them give the response to others (RFC 9111 §3, §3.5).
bool let_share(const http::ResponseDirectives& directives, bool is_authorized) noexcept
{
    const bool is_fresh = directives.max_age.value_or(0) > 0 && (!is_authorized || directives.must_revalidate);
    return (directives.is_public || directives.s_maxage.is_given() || is_fresh) && !directives.no_store && !directives.is_private;
}

/// Whether a cache in front of us may give the response to others: theirs would be this client's cookie. Whatever field lets one,
/// as we do not know whom it heeds. Not so of what only has no lifetime of its own (heuristics), or pages of most applications
/// would set no cookie.
bool may_be_shared(const Request& request) noexcept
{
    const http::Fields& response = request.response.fields;
    const bool is_authorized = request.head.fields.has(FieldName::authorization);
    http::ResponseDirectives plain;
    bool is_expiring = false;
    const std::int64_t now_s = ::time(nullptr);
    for (const http::Field& field : response) {
        if (field.id == FieldName::cache_control) {
            http::read_cache_control(response.value(field), plain);
        } else if (field.id == FieldName::expires) {
            is_expiring = is_expiring || http::parse_date(response.value(field), now_s).value_or(0) > now_s;
        }
    }
    if (is_expiring && !plain.max_age.is_given() && !plain.no_cache && !is_authorized && !plain.no_store && !plain.is_private) {
        return true;
    }
    http::ResponseDirectives of_cdns;
    http::ResponseDirectives of_surrogates;
    return let_share(plain, is_authorized) ||
           (http::read_cdn_cache_control(response, of_cdns) && let_share(of_cdns, is_authorized)) ||
           (http::read_surrogate_control(response, of_surrogates) && let_share(of_surrogates, is_authorized));
}

} // namespace

void take_sticky_cookie(Request& request)
{
    const Upstream& upstream = *request.live->upstreams[request.upstream];
    const std::string& name = upstream.settings().sticky_cookie;
    if (name.empty() || !request.head.fields.has(FieldName::cookie)) {
        return;
    }
    // A site may have several upstreams with cookies of that name: the first value that is one of ours counts.
    http::any_cookie(request.head.fields, [&](std::string_view cookie, std::string_view value) {
        if (cookie == name) {
            request.sticky_member = upstream.find_sticky(value);
        }
        return request.sticky_member.has_value();
    });
    for (http::Field& field : request.head.fields) {
        if (field.id == FieldName::cookie) {
            // The bytes are the head's own, in a block that nobody else has.
            char* const bytes = const_cast<char*>(request.head.fields.value(field).data());
            field.value_length = static_cast<std::uint32_t>(http::remove_cookie(bytes, field.value_length, name));
            field.is_dropped = field.is_dropped || field.value_length == 0;
        }
    }
}

void settle_sticky_cookie(Request& request, Turn& turn)
{
    const Member& member = turn.upstream->members()[turn.member];
    if (member.sticky.empty() || request.sticky_member == turn.member) {
        return;
    }
    // Where the one that the client had was only full, or failed this once, its next request goes there again.
    const bool goes_back = request.sticky_member && turn.upstream->keeps_clients(*request.sticky_member, request.parts.loop.now());
    request.sticky_cookie = goes_back ? std::string_view{} : std::string_view(member.sticky);
}

void write_sticky_cookie(HeadText& text, const Request& request)
{
    if (request.sticky_cookie.empty() || may_be_shared(request)) {
        return;
    }
    text << "Set-Cookie: " << request.live->upstreams[request.upstream]->settings().sticky_cookie << "=" << request.sticky_cookie
         << "; Path=/; HttpOnly; SameSite=Lax" << (request.scheme == "https" ? "; Secure\r\n" : "\r\n");
}

} // namespace ladle::worker
