// SPDX-License-Identifier: Apache-2.0
#include "worker/response/response_writer.h"

#include "common/http/media_type.h"
#include "common/http/status.h"
#include "worker/request/hop_by_hop.h"
#include "worker/upstream/sticky.h"

#include <algorithm>

namespace ladle::worker {

namespace {

using http::FieldName;

HeadEnd head_end(const Request& request, std::uint16_t status, BodyForm form, std::uint64_t length = 0) noexcept
{
    return {status, form, length, request.after, request.head.version, {}};
}

/// Room for write_hsts().
constexpr std::size_t kHstsBytes = 64;

bool is_dropped(const config::FieldEdits* edits, std::string_view name) noexcept
{
    return edits != nullptr && edits->drops(name);
}

/// Before the server's fields: of several a browser takes the first (RFC 6797 §8.1), and only what came over TLS.
void write_hsts(HeadText& text, const Request& request)
{
    const bool is_edited = is_dropped(find_response_edits(request), "Strict-Transport-Security");
    if (request.site != nullptr && request.site->tls && request.site->tls->hsts.count() > 0 && request.is_encrypted && !is_edited) {
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(request.site->tls->hsts).count();
        text << "Strict-Transport-Security: max-age=" << static_cast<std::uint64_t>(seconds) << "\r\n";
    }
}

std::size_t room_for(const config::FieldEdits* edits) noexcept
{
    return edits == nullptr ? 0 : edits->bytes;
}

/// What keeps edits from a head's own word.
enum class Kept : std::uint8_t {
    nothing,
    type, ///< the body is in parts: its Content-Type says where they end
    own,  ///< an answer of our own: what it is, and where it leads
};

bool is_kept(Kept kept, std::string_view name) noexcept
{
    const FieldName id = http::find_field_name(name);
    return (kept != Kept::nothing && id == FieldName::content_type) ||
           (kept == Kept::own && (id == FieldName::location || http::equals_ignoring_case(name, "Grpc-Status") ||
                                  http::equals_ignoring_case(name, "Grpc-Message")));
}

void write_set(HeadText& text, const config::FieldEdits* edits, Kept kept)
{
    if (edits == nullptr) {
        return;
    }
    for (const config::FieldEdits::Set& set : edits->set) {
        if (!is_kept(kept, set.name)) {
            text.field(set.name, set.value);
        }
    }
}

/// Lines of a stored head but those that are dropped, or said elsewhere.
void write_lines(HeadText& text, std::string_view lines, const config::FieldEdits* edits, Kept kept)
{
    if (edits == nullptr && kept == Kept::nothing) {
        text << lines;
        return;
    }
    while (!lines.empty()) {
        const std::size_t end = std::min(lines.find("\r\n"), lines.size() - 2) + 2;
        const std::string_view line = lines.substr(0, end);
        if (const std::string_view name = line.substr(0, line.find(':')); !is_dropped(edits, name) && !is_kept(kept, name)) {
            text << line;
        }
        lines.remove_prefix(end);
    }
}

/// A server's own multipart/byteranges cannot be read by another type.
Kept kept_of(const http::ResponseHead& response) noexcept
{
    const bool is_multipart =
        response.status == 206 && http::equals_ignoring_case(http::media_type_of(response.fields.value_of(FieldName::content_type)),
                                                             "multipart/byteranges");
    return is_multipart ? Kept::type : Kept::nothing;
}

void count_status(Request& request, std::uint16_t status)
{
    static constexpr shm::Metric kClasses[] = {shm::Metric::responses_2xx, shm::Metric::responses_3xx, shm::Metric::responses_4xx,
                                               shm::Metric::responses_5xx};
    request.status = status;
    if (status >= 200 && status < 600) {
        request.parts.row.add(kClasses[status / 100 - 2]);
    }
}

/// Whether the connection can go on after this answer.
void decide_after(Request& request, BodyForm form)
{
    if (!request.client_keeps_alive || request.parts.is_draining || form == BodyForm::to_close ||
        !request.client.body.is_complete()) {
        request.after = After::close;
    }
}

/// gRPC's code, as a field's value.
std::string_view grpc_status(std::uint16_t status) noexcept
{
    switch (status) {
    case 400: return "13";                              // INTERNAL
    case 401: return "16";                              // UNAUTHENTICATED
    case 403: return "7";                               // PERMISSION_DENIED
    case 404: return "12";                              // UNIMPLEMENTED
    case 413:
    case 431: return "8";                               // RESOURCE_EXHAUSTED
    case 429:
    case 502:
    case 503:
    case 504: return "14";                              // UNAVAILABLE
    default: return "2";                                // UNKNOWN
    }
}

} // namespace

const config::FieldEdits* find_response_edits(const Request& request) noexcept
{
    const config::HeaderEdits* const edits = request.route != nullptr  ? request.route->headers.get()
                                             : request.site != nullptr ? request.site->headers.get()
                                                                       : request.live->config->headers.get();
    return edits != nullptr ? &edits->response : nullptr;
}

bool is_grpc_over_h2(const Request& request) noexcept
{
    return request.is_grpc && request.client.protocol == Protocol::http_2;
}

BodyForm choose_body_form(const Request& request, http::Framing framing) noexcept
{
    switch (framing.kind) {
    case http::BodyKind::none: return BodyForm::none;
    case http::BodyKind::length: return BodyForm::length;
    default: return request.head.version == http::Version::http_1_1 ? BodyForm::chunked : BodyForm::to_close;
    }
}

void write_interim(Request& request)
{
    const http::Fields& fields = request.response.fields;
    mark_hop_by_hop(request.response.fields);
    const std::size_t most = request.response.size() + fields.size() + 164; // a space for each field
    HeadText text = request.client.begin_head(request.response.status, request.response.reason(), most);
    const config::FieldEdits* edits = find_response_edits(request);
    for (const http::Field& field : fields) {
        if (!field.is_dropped && !is_dropped(edits, fields.name(field))) {
            text.field(fields.name(field), fields.value(field));
        }
    }
    request.client.finish_head(text, head_end(request, request.response.status, BodyForm::none));
    request.parts.row.add(shm::Metric::responses_1xx);
}

void write_continue(Request& request)
{
    HeadText text = request.client.begin_head(100, http::reason_phrase(100), 164);
    request.client.finish_head(text, head_end(request, 100, BodyForm::none));
}

void write_response_head(Request& request, BodyForm form, std::uint64_t length)
{
    http::ResponseHead& response = request.response;
    mark_hop_by_hop(response.fields);
    decide_after(request, form);
    std::string cache_status;
    if (request.cache) {
        request.cache->append_status_line(cache_status);
    }
    const config::FieldEdits* edits = find_response_edits(request);
    const Kept kept = kept_of(response);
    const std::size_t most = response.size() + response.fields.size() + request.upgrade.size() + cache_status.size() + kHstsBytes +
                             kStickyBytes + room_for(edits) + 256;
    HeadText text = request.client.begin_head(response.status, response.reason(), most);
    write_hsts(text, request);
    for (const http::Field& field : response.fields) {
        const std::string_view name = response.fields.name(field);
        if (!field.is_dropped && field.id != FieldName::via && (!is_dropped(edits, name) || is_kept(kept, name))) {
            text.field(name, response.fields.value(field));
        }
    }
    write_set(text, edits, kept);
    write_sticky_cookie(text, request);
    if (!response.fields.has(FieldName::date)) {
        text << request.parts.date;
    }
    text << "Via: ";
    if (response.fields.has(FieldName::via)) {
        for (const http::Field& field : response.fields) {
            if (field.id == FieldName::via && field.value_length > 0) {
                text << response.fields.value(field) << ", ";
            }
        }
    }
    text << (response.version == http::Version::http_1_1 ? "1.1 ladle\r\n" : "1.0 ladle\r\n") << cache_status;
    if (form == BodyForm::length && !(length == 0 && is_grpc_over_h2(request))) { // there the frame says that it is all
        text << "Content-Length: " << length << "\r\n";
    } else if (form == BodyForm::none && response.fields.has(FieldName::content_length) && response.status != 204 &&
               response.status != 101) {
        text.field("Content-Length", response.fields.value_of(FieldName::content_length)); // of HEAD and 304: for information
    }
    HeadEnd end = head_end(request, response.status, form, length);
    end.upgrade = request.upgrade;
    request.client.finish_head(text, end);
    request.response_begun = true;
    count_status(request, response.status);
}

void write_stored_head(Request& request, const StoredHead& head)
{
    decide_after(request, head.form);
    const std::string_view reason = http::reason_phrase(head.status);
    const config::FieldEdits* edits = find_response_edits(request);
    const std::size_t most = head.lines.size() + head.unstored_lines.size() + head.more_lines.size() + reason.size() + kHstsBytes +
                             room_for(edits) + 192;
    HeadText text = request.client.begin_head(head.status, reason, most);
    write_hsts(text, request);
    const Kept kept = head.is_multipart ? Kept::type : Kept::nothing;
    write_lines(text, head.lines, edits, kept);
    write_lines(text, head.unstored_lines, edits, kept);
    write_set(text, edits, kept);
    text << head.more_lines << "Via: 1.1 ladle\r\n";
    if (head.form == BodyForm::length || head.shows_length) {
        text << "Content-Length: " << head.length << "\r\n";
    }
    request.client.finish_head(text, head_end(request, head.status, head.form, head.length));
    request.response_begun = true;
    count_status(request, head.status);
}

void write_grpc_error(Request& request, std::uint16_t status)
{
    decide_after(request, BodyForm::none);
    const std::string_view reason = http::reason_phrase(status);
    const config::FieldEdits* edits = find_response_edits(request);
    const std::size_t most = request.parts.date.size() + 2 * reason.size() + kHstsBytes + room_for(edits) + 256;
    HeadText text = request.client.begin_head(status, reason, most);
    write_hsts(text, request);
    text << (is_dropped(edits, "Server") ? "" : "Server: ladle\r\n") << request.parts.date << "Content-Type: application/grpc\r\n";
    write_set(text, edits, Kept::own);
    text.field("Grpc-Status", grpc_status(status));
    text.field("Grpc-Message", reason);
    request.client.finish_head(text, head_end(request, status, BodyForm::none));
    request.response_begun = true;
    count_status(request, status);
}

void write_answer(Request& request, std::uint16_t status, std::string_view content_type, std::string_view body)
{
    decide_after(request, BodyForm::length);
    const std::string_view reason = http::reason_phrase(status);
    const config::FieldEdits* edits = find_response_edits(request);
    const std::size_t most = content_type.size() + request.parts.date.size() + reason.size() + request.redirect.size() +
                             kHstsBytes + room_for(edits) + 288;
    HeadText text = request.client.begin_head(status, reason, most);
    write_hsts(text, request);
    text << (is_dropped(edits, "Server") ? "" : "Server: ladle\r\n") << request.parts.date;
    write_set(text, edits, Kept::own);
    const bool has_body = status != 204 && status != 304;
    if (has_body) {
        text.field("Content-Type", content_type);
        text << "Content-Length: " << std::uint64_t{body.size()} << "\r\n";
    }
    if (!request.redirect.empty() && status == request.redirect_status) {
        text.field("Location", request.redirect);
    }
    if (request.retry_after_s != 0 && !is_dropped(edits, "Retry-After")) {
        text << "Retry-After: " << std::uint64_t{request.retry_after_s} << "\r\n";
    }
    const bool answers_options = request.route == nullptr && status == 204;
    if (status == 405 || answers_options) {
        text << "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE\r\n";
    }
    const bool sends_body = has_body && request.head.method != http::Method::head;
    request.client.finish_head(text, head_end(request, status, sends_body ? BodyForm::length : BodyForm::none, body.size()));
    if (sends_body) {
        request.client.out.append_copy(body);
        request.body_sent += body.size();
        request.client.finish_body();
    }
    request.response_begun = true;
    count_status(request, status);
}

} // namespace ladle::worker
