// SPDX-License-Identifier: Apache-2.0
#include "worker/request/find_route.h"

#include "worker/route/split.h"
#include "worker/upstream/sticky.h"

#include <fmt/format.h>

namespace ladle::worker {

namespace {

/// Where a request over plain HTTP should have gone. Empty where the host is not known: then it is served as it came.
std::string https_url(const Request& request)
{
    const std::string& host = request.host.empty() ? request.site->name : request.host;
    if (host.starts_with('*')) {
        return {};
    }
    const std::uint16_t port = request.site->tls->https_port;
    const bool is_path = request.target.form != http::TargetForm::asterisk;
    return fmt::format("https://{}{}{}{}", host, port == 443 ? std::string() : fmt::format(":{}", port),
                       !is_path || request.target.lacks_slash ? "/" : "", is_path ? request.target.path_and_query : "");
}

/// What this client has shown on its connection was for another site that asks for something else (RFC 9110 §7.4).
bool is_misdirected(const Request& request)
{
    const Encryption* encryption = request.client.encryption;
    const bool is_asked = request.site->tls && request.site->tls->client;
    if (encryption == nullptr) {
        return is_asked;
    }
    return encryption->facts().demand != (is_asked ? std::string_view(request.site->tls->client->fingerprint) : std::string_view{});
}

/// What the route makes of the path: where the client is sent, or what the server gets in its place.
std::optional<Answer> change_path(Request& request)
{
    const config::Route& route = *request.route;
    const http::QueryText query{request.target.query, request.target.path_and_query.find('?') != std::string_view::npos};
    if (route.redirect) {
        request.redirect = route.redirect->apply(request.path, query);
        request.redirect_status = route.redirect->status;
        if (request.redirect.size() > request.live->config->request_limits.uri_bytes + http::kMostTemplateBytes) {
            request.redirect.clear();
            return Answer{414, Reason::target_too_long};
        }
    } else if (route.path_change) {
        const bool is_changed = route.path_change->apply(request.path, query, request.sent_target);
        if (is_changed && request.sent_target.size() > request.live->config->request_limits.uri_bytes) {
            return Answer{414, Reason::target_too_long}; // captures may stand in it more than once
        }
    }
    return std::nullopt;
}

} // namespace

std::optional<Answer> find_route(Request& request)
{
    request.site = request.live->router.find_site(request.listen, request.host);
    if (request.site == nullptr) {
        return Answer{404, Reason::no_site};
    }
    if (request.site->tls && request.site->tls->redirects && request.scheme != "https") {
        request.redirect = https_url(request);
    }
    if (request.redirect.empty() && !request.is_question && is_misdirected(request)) {
        return Answer{421, Reason::misdirected};
    }
    const RouteQuery query{request.host,
                           request.path,
                           request.target.query,
                           request.head.method_text(),
                           request.head.fields,
                           request.scheme,
                           request.client_address};
    request.route = request.live->router.find_route(*request.site, query);
    if (request.route == nullptr && request.redirect.empty()) {
        return Answer{404, Reason::no_route};
    }
    if (request.route == nullptr || !request.redirect.empty()) {
        return std::nullopt;
    }
    if (request.route->upstream) {
        request.upstream = request.route->split.empty()
                               ? *request.route->upstream
                               : choose_share(*request.route, request.client_address, request.head.fields);
        take_sticky_cookie(request);
    }
    return change_path(request);
}

} // namespace ladle::worker
