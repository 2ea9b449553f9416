// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/request_writer.h"

#include "common/config/service_name.h"
#include "worker/net/head_text.h"
#include "worker/request/hop_by_hop.h"

namespace ladle::worker {

namespace {

using http::FieldName;

constexpr std::string_view kLoadForm = "endpoint-load-metrics-format";

/// Fields that are written below whether or not the client sent them.
bool is_rewritten(const Request& request, FieldName id) noexcept
{
    switch (id) {
    case FieldName::host:
    case FieldName::via:
    case FieldName::forwarded:
    case FieldName::x_forwarded_for:
    case FieldName::x_request_id:
    case FieldName::expect:
    case FieldName::max_forwards:
        return true;
    case FieldName::early_data:
        return !request.is_trusted_peer || request.client.is_early();
    case FieldName::x_forwarded_host:
    case FieldName::x_forwarded_proto:
        return !request.is_trusted_peer;
    case FieldName::x_mirrored: // a copy has it among its added_fields
        return !request.is_trusted_peer || request.kind == RequestKind::copy;
    case FieldName::if_match:
    case FieldName::if_none_match:
    case FieldName::if_modified_since:
    case FieldName::if_unmodified_since:
    case FieldName::if_range:
    case FieldName::range:
        return request.hides_conditions;
    default:
        return false;
    }
}

std::string_view host_for_server(const Request& request) noexcept
{
    if (!request.authority.empty()) {
        return request.authority;
    }
    if (!request.site->name.starts_with('*')) { // an HTTP/1.0 client without Host
        return request.site->name;
    }
    const std::string_view server = request.server_text;
    if (server.starts_with("srv:") && server.find('.') != std::string_view::npos) { // not the host "srv"
        return config::service_domain(server.substr(4));
    }
    return server.starts_with("unix:") ? std::string_view("localhost") : server;
}

/// Every value of a list field, joined, then ours.
void write_list(HeadText& text, const Request& request, FieldName id, std::string_view last_a, std::string_view last_b = {})
{
    text << http::spelling(id) << ": ";
    if (request.head.fields.has(id)) {
        for (const http::Field& field : request.head.fields) {
            if (field.id == id && field.value_length > 0) {
                text << request.head.fields.value(field) << ", ";
            }
        }
    }
    text << last_a << last_b << "\r\n";
}

void write_forwarded(HeadText& text, const Request& request)
{
    const std::string& peer = request.client.peer_text;
    const bool is_v6 = peer.find(':') != std::string::npos;
    const bool is_unix = peer.starts_with("unix:");
    const std::string_view node = is_unix ? std::string_view("unknown") : std::string_view(peer);
    const http::Fields& fields = request.head.fields;
    if (request.is_trusted_peer && fields.has(FieldName::x_forwarded_for)) {
        write_list(text, request, FieldName::x_forwarded_for, node);
    } else if (request.is_trusted_peer && fields.has(FieldName::forwarded) && request.client_address != peer) {
        text << "X-Forwarded-For: " << request.client_address << ", " << node << "\r\n"; // both fields tell the same story
    } else {
        text.field("X-Forwarded-For", node);
    }
    text << "Forwarded: ";
    if (request.is_trusted_peer) {
        for (const http::Field& field : request.head.fields) {
            if (field.id == FieldName::forwarded && field.value_length > 0) {
                text << request.head.fields.value(field) << ", ";
            }
        }
    }
    text << "for=" << (is_v6 && !is_unix ? "\"[" : "") << node << (is_v6 && !is_unix ? "]\"" : "");
    if (!request.authority.empty()) {
        text << ";host=\"" << request.authority << "\"";
    }
    text << ";proto=" << (request.is_encrypted ? "https" : "http") << "\r\n";
    if (!request.is_trusted_peer || !fields.has(FieldName::x_forwarded_proto)) {
        text.field("X-Forwarded-Proto", request.scheme);
    }
    const std::string_view host = request.forwarded_host.empty() ? request.authority : request.forwarded_host;
    if ((!request.is_trusted_peer || !fields.has(FieldName::x_forwarded_host)) && !host.empty()) {
        text.field("X-Forwarded-Host", host);
    }
}

std::string_view subject_of(const Request& request)
{
    const Encryption* encryption = request.client.encryption;
    return encryption != nullptr ? encryption->facts().subject : std::string_view(request.subject);
}

} // namespace

std::string_view subject_header(const Request& request)
{
    const bool is_asked = request.site->tls && request.site->tls->client;
    return is_asked ? std::string_view(request.site->tls->client->header) : std::string_view{};
}

void write_request_head(const Request& request, RequestBodyForm form, Chain& out)
{
    const http::Fields& fields = request.head.fields;
    // What is copied is no longer than the received head, list joins included, and a space in each field that came without one; the
    // rest is bounded by its parts.
    const config::FieldEdits* edits = request.route->headers ? &request.route->headers->request : nullptr;
    const std::size_t most = request.head.size() + fields.size() + 3 * request.authority.size() +
                             2 * request.client.peer_text.size() + request.client_address.size() + request.forwarded_host.size() +
                             request.id.size() + request.site->name.size() + request.server_text.size() +
                             request.added_fields.size() + subject_header(request).size() + subject_of(request).size() +
                             request.sent_target.size() + (edits != nullptr ? edits->bytes : 0) + 912;
    const bool asks_for_load = request.live->upstreams[request.upstream]->settings().load_report.has_value();
    HeadText text(out, most);
    if (request.sent_target.empty()) {
        text << request.head.method_text() << (request.target.lacks_slash ? " /" : " ") << request.target.path_and_query;
    } else {
        text << request.head.method_text() << " " << request.sent_target;
    }
    text << " HTTP/1.1\r\n";
    text.field("Host", host_for_server(request));
    const std::string_view subject = subject_header(request);
    if (!subject.empty() && !subject_of(request).empty()) {
        text.field(subject, subject_of(request));
    }
    for (const http::Field& field : fields) {
        const bool is_edited = edits != nullptr && edits->drops(fields.name(field));
        const bool is_in_our_place =
            looks_like(fields.name(field), subject) || (asks_for_load && looks_like(fields.name(field), kLoadForm));
        if (!field.is_dropped && !is_edited && !is_in_our_place && !is_rewritten(request, field.id)) {
            text.field(fields.name(field), fields.value(field));
        }
    }
    if (edits != nullptr) {
        for (const config::FieldEdits::Set& set : edits->set) {
            text.field(set.name, set.value);
        }
    }
    if (request.client.is_early()) {
        text << "Early-Data: 1\r\n"; // RFC 8470 §5.1
    }
    if (asks_for_load) {
        text.field(kLoadForm, "TEXT"); // some report only where somebody wants to know
    }
    text << request.added_fields;
    if (request.cache || request.asks_as_cache) {
        text << "Surrogate-Capability: ladle=\"Surrogate/1.0\"\r\n";
    }
    if (form.is_chunked) {
        text << "Transfer-Encoding: chunked\r\n";
    } else if (form.has_length) {
        text << "Content-Length: " << form.length << "\r\n";
    }
    if (request.expects_continue) {
        text << "Expect: 100-continue\r\n";
    }
    if (const auto hops = http::parse_decimal(fields.value_of(FieldName::max_forwards)); hops) {
        text << "Max-Forwards: " << (*hops > 0 ? *hops - 1 : 0) << "\r\n";
    }
    if (request.wants_upgrade) {
        text << "Connection: upgrade\r\nUpgrade: " << request.upgrade << "\r\n";
    } else if (fields.list_has(FieldName::te, "trailers")) {
        text << "Connection: TE\r\nTE: trailers\r\n";
    }
    write_list(text, request, FieldName::via, protocol_version(request), " ladle");
    write_forwarded(text, request);
    text.field("X-Request-Id", request.id);
    text.finish();
}

} // namespace ladle::worker
