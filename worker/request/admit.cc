// SPDX-License-Identifier: Apache-2.0
#include "worker/request/admit.h"

#include "worker/request/hop_by_hop.h"

#include <algorithm>

namespace ladle::worker {

namespace {

using http::FieldName;

std::optional<Answer> read_target(Request& request)
{
    if (request.head.method == http::Method::connect) {
        return Answer{405, Reason::method_not_allowed};
    }
    const auto target = http::parse_target(request.head);
    if (!target) {
        return Answer{400, target.error() == http::TargetError::bad_host ? Reason::bad_host : Reason::bad_request};
    }
    request.target = *target;
    const auto authority = http::find_authority(request.head, request.target);
    if (!authority) {
        return Answer{400, Reason::bad_host};
    }
    request.authority = *authority;
    // RFC 9110 §7.4: for an https resource only a secured connection will do, or the word of a trusted peer that there was one.
    if (target->is_https && request.scheme != "https") {
        return Answer{421, Reason::misdirected};
    }
    const std::string_view host = http::host_of(*authority);
    request.host.resize(host.size());
    std::transform(host.begin(), host.end(), request.host.begin(), http::to_lower);
    if (request.host.ends_with('.') && request.host.size() > 1) { // the absolute form of the same name
        request.host.pop_back();
    }
    if (request.target.form == http::TargetForm::asterisk) {
        request.path = "*";
    } else {
        http::normalise_path(request.target.path, request.path);
    }
    return std::nullopt;
}

std::optional<Answer> read_expectation(Request& request)
{
    if (!request.head.fields.has(FieldName::expect)) {
        return std::nullopt;
    }
    if (request.head.fields.count(FieldName::expect) != 1 ||
        !http::equals_ignoring_case(request.head.fields.value_of(FieldName::expect), "100-continue")) {
        return Answer{417, Reason::expectation_failed};
    }
    // RFC 9110 §10.1.1: ignored in HTTP/1.0 and without a body.
    request.expects_continue = request.head.version == http::Version::http_1_1 && request.framing.kind != http::BodyKind::none;
    return std::nullopt;
}

/// RFC 9110 §7.6.2: OPTIONS and TRACE go no further than Max-Forwards says. TRACE is not answered for ourselves: an echo would show
/// what the client's own browser hides from its scripts.
std::optional<Answer> read_max_forwards(const Request& request)
{
    const http::RequestHead& head = request.head;
    if (!head.fields.has(FieldName::max_forwards)) {
        return std::nullopt;
    }
    const auto hops = http::parse_decimal(head.fields.value_of(FieldName::max_forwards));
    if (!hops || head.fields.count(FieldName::max_forwards) != 1) {
        return Answer{400, Reason::bad_request};
    }
    if (*hops == 0 && head.method == http::Method::options) {
        return Answer{204, Reason::ok};
    }
    if (*hops == 0 && head.method == http::Method::trace) {
        return Answer{405, Reason::method_not_allowed};
    }
    return std::nullopt;
}

/// One protocol token that may be tunnelled. "h2c" and other versions of HTTP, and TLS, would smuggle requests past us.
void read_upgrade(Request& request)
{
    const http::Fields& fields = request.head.fields;
    if (fields.count(FieldName::upgrade) != 1 || !fields.list_has(FieldName::connection, "upgrade") ||
        request.head.version != http::Version::http_1_1 || request.framing.kind != http::BodyKind::none) {
        return;
    }
    const std::string_view name = fields.value_of(FieldName::upgrade);
    const std::size_t slash = name.find('/');
    const std::string_view protocol = name.substr(0, slash);
    const bool well_formed =
        http::is_token(protocol) && (slash == std::string_view::npos || http::is_token(name.substr(slash + 1)));
    const bool is_forbidden = http::equals_ignoring_case(protocol, "h2c") || http::equals_ignoring_case(protocol, "h2") ||
                              http::equals_ignoring_case(protocol, "http") || http::equals_ignoring_case(protocol, "tls");
    request.wants_upgrade = well_formed && !is_forbidden;
    request.upgrade = name;
}

/// "application/grpc", also with "+proto" or parameters; "application/grpc-web" is an ordinary request.
bool is_grpc_type(std::string_view type) noexcept
{
    constexpr std::string_view kType = "application/grpc";
    return type.size() >= kType.size() && http::equals_ignoring_case(type.substr(0, kType.size()), kType) &&
           (type.size() == kType.size() || std::string_view("+; \t").find(type[kType.size()]) != std::string_view::npos);
}

} // namespace

Answer answer_for(http::HeadError error) noexcept
{
    switch (error) {
    case http::HeadError::target_too_long: return {414, Reason::target_too_long};
    case http::HeadError::head_too_large:
    case http::HeadError::too_many_fields: return {431, Reason::head_too_large};
    case http::HeadError::bad_version: return {505, Reason::bad_version};
    default: return {400, Reason::bad_request};
    }
}

std::optional<Answer> admit(Request& request)
{
    http::RequestHead& head = request.head;
    request.client_keeps_alive = head.version == http::Version::http_1_1
                                     ? !head.fields.list_has(FieldName::connection, "close")
                                     : head.fields.list_has(FieldName::connection, "keep-alive");
    const auto framing = http::request_framing(head);
    if (!framing) {
        return Answer{400, Reason::bad_framing};
    }
    request.framing = *framing;
    if (head.method == http::Method::trace && framing->kind != http::BodyKind::none) { // RFC 9110 §9.3.8
        return Answer{400, Reason::bad_framing};
    }
    if (auto refused = read_target(request)) {
        return refused;
    }
    if (auto refused = read_expectation(request)) {
        return refused;
    }
    if (auto ended = read_max_forwards(request)) {
        return ended;
    }
    read_upgrade(request);
    request.is_grpc = head.fields.has(FieldName::content_type) && is_grpc_type(head.fields.value_of(FieldName::content_type));
    mark_hop_by_hop(head.fields);
    mark_look_alikes(head.fields);
    return std::nullopt;
}

} // namespace ladle::worker
