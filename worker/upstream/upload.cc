// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/upload.h"

#include "worker/request/chunked_body.h"
#include "worker/request/take_body.h"
#include "worker/upstream/request_writer.h"

namespace ladle::worker {

namespace {

constexpr std::size_t kOutMost = 128 << 10; // bytes lined up for the server

/// The lines of the trailers that the server gets, once the body is whole.
std::string trailers_of(const Request& request)
{
    const config::HeaderEdits* const edits = request.route->headers.get();
    return request.trailers
               ? trailer_lines(*request.trailers, edits != nullptr ? &edits->request : nullptr, {subject_header(request)})
               : std::string();
}

RequestBodyForm choose_form(const Request& request) noexcept
{
    if (!request.body) {
        return request.framing.kind == http::BodyKind::length ? RequestBodyForm::of_length(0) : RequestBodyForm::none();
    }
    const bool is_whole = request.client.body.is_complete();
    if (is_whole && trailers_of(request).empty()) {
        return RequestBodyForm::of_length(request.body->size());
    }
    return request.framing.kind == http::BodyKind::length ? RequestBodyForm::of_length(request.framing.length)
                                                          : RequestBodyForm::chunks();
}

} // namespace

void Upload::begin(ServerStream& server)
{
    const RequestBodyForm form = choose_form(request_);
    has_body_ = form.is_chunked || request_.body;
    is_ended_ = !has_body_;
    write_request_head(request_, form, server.head_room());
    server.finish_head(form.is_chunked ? Coding::chunked : has_body_ ? Coding::plain : Coding::none);
}

void Upload::line_up(ServerStream& server)
{
    while (!is_ended_ && server.out.bytes() < kOutMost) {
        Chain part;
        const std::size_t n = request_.body->take(part, kOutMost - server.out.bytes());
        if (n > 0) {
            server.send_body(std::move(part));
            continue;
        }
        if (!request_.client.body.is_complete() || !request_.body->is_drained()) {
            return;
        }
        server.finish_body(trailers_of(request_));
        is_ended_ = true;
    }
}

bool Upload::step(ServerStream& server)
{
    bool moved = false;
    if (has_body_ && !holds_body_ && !request_.client.body.is_complete() && !client_failure_) {
        const BodyStep taken = take_body_part(request_);
        moved = taken.moved;
        client_failure_ = taken.failed;
        if (client_failure_) {
            return moved; // never a clean end of a body that had none
        }
    }
    if (!holds_body_) {
        line_up(server);
    }
    const Io io = server.flush();
    moved = moved || io.bytes > 0;
    has_failed_ = io.state == IoState::failed;
    if (request_.body) {
        request_.body->settle(server.out.bytes());
    }
    return moved;
}

} // namespace ladle::worker
