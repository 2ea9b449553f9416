// SPDX-License-Identifier: Apache-2.0
//
// What nghttp2 calls of an H2Connection, and how its session is set up.
#include "worker/client/h2_connection.h"

#include "common/base/assert.h"
#include "worker/client/session.h"

#include <algorithm>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kExcessStep = 1 << 10; // bytes of excess fields: each byte of them was looked at
constexpr std::size_t kFieldOverhead = 32;   // bytes that a field counts for beside its text (RFC 9113 §6.5.2)

H2Connection& connection_of(void* self) noexcept
{
    return *static_cast<H2Connection*>(self);
}

} // namespace

nghttp2_session* H2Connection::make_session(H2Connection& self, const config::Http2Limits& limits)
{
    const H2Options options = make_h2_options();
    nghttp2_option_set_stream_reset_rate_limit(options.get(), limits.resets, limits.resets_per_s);
    nghttp2_option_set_builtin_recv_extension_type(options.get(), NGHTTP2_PRIORITY_UPDATE);
    nghttp2_session* made = nullptr;
    nghttp2_mem memory = self.memory_.functions();
    LADLE_ASSERT(nghttp2_session_server_new3(&made, h2_callbacks<H2Connection>(), &self, options.get(), &memory) == 0);
    self.memory_.may_rest();
    return made;
}

int H2Connection::on_begin_headers(nghttp2_session* frames, const nghttp2_frame* frame, void* self)
{
    H2Connection& connection = connection_of(self);
    connection.is_head_open_ = true;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    const std::size_t most = connection.session_.newest_config()->config->request_limits.head_bytes;
    auto stream = std::make_unique<H2Stream>(connection, frame->hd.stream_id, connection.client_, most);
    H2Stream& made = *stream.release(); // owned by the list from here on
    made.insert_before(connection.streams_);
    return nghttp2_session_set_stream_user_data(frames, made.id, &made);
}

int H2Connection::on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                            const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self)
{
    H2Connection& connection = connection_of(self);
    H2Stream* stream = connection.stream_of(frame->hd.stream_id);
    if (stream == nullptr) {
        return 0;
    }
    std::string& trailers = stream->request_trailers;
    bool is_taken = true;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        is_taken = stream->head.add(h2_text(name, name_size), h2_text(value, value_size));
    } else if (trailers.size() <= http::ChunkedDecoder::kMaxTrailers) {
        trailers.append(h2_text(name, name_size)).append(": ").append(h2_text(value, value_size)).append("\r\n");
    } else {
        is_taken = false;
    }
    if (is_taken) {
        return 0;
    }
    connection.excess_bytes_ += name_size + value_size + kFieldOverhead;
    for (; connection.excess_bytes_ >= kExcessStep; connection.excess_bytes_ -= kExcessStep) {
        connection.charge(H2Budget::Cost::excess_fields);
    }
    return connection.budget_.is_spent() ? NGHTTP2_ERR_CALLBACK_FAILURE : 0; // at once: the block may have thousands more
}

/// RFC 9113 §8.1.1: a malformed request is a stream error.
int H2Connection::on_invalid_header(nghttp2_session* frames, const nghttp2_frame* frame, const std::uint8_t*, std::size_t,
                                    const std::uint8_t*, std::size_t, std::uint8_t, void* self)
{
    connection_of(self).is_head_open_ = false;
    nghttp2_submit_rst_stream(frames, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_PROTOCOL_ERROR);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/// nghttp2 resets the stream: what it does not say is that the head has ended.
int H2Connection::on_invalid_frame(nghttp2_session*, const nghttp2_frame* frame, int, void* self)
{
    H2Connection& connection = connection_of(self);
    connection.is_head_open_ = connection.is_head_open_ && frame->hd.type != NGHTTP2_HEADERS;
    return 0;
}

/// RFC 9113 §5.1.1: a stream that its client passed over is closed; to begin it later is an error, which nghttp2 overlooks.
bool H2Connection::is_passed_over(std::int32_t id) noexcept
{
    if (id <= last_head_) {
        return std::ranges::any_of(gaps_, [id](const Gap& gap) { return gap.first <= id && id <= gap.last; });
    }
    if (id > last_head_ + 2) {
        gaps_[gap_count_++ % gaps_.size()] = {last_head_ + 2, id - 2};
    }
    last_head_ = id;
    return false;
}

/// What frames cost, before anything is done with them.
int H2Connection::on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* frame, void* self)
{
    H2Connection& connection = connection_of(self);
    if (connection.budget_.is_spent()) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (frame->type == NGHTTP2_HEADERS && connection.is_passed_over(frame->stream_id)) {
        connection.go_away(NGHTTP2_PROTOCOL_ERROR);
    }
    const bool is_answer = (frame->flags & NGHTTP2_FLAG_ACK) != 0;
    const bool is_payload = frame->type == NGHTTP2_DATA || frame->type == NGHTTP2_HEADERS || frame->type == NGHTTP2_CONTINUATION;
    if (is_payload && frame->length > 0) {
        connection.budget_.count_payload(frame->length);
        return 0;
    }
    connection.budget_.count_control(frame->length + kH2FrameHead);
    if (frame->type == NGHTTP2_DATA && (frame->flags & NGHTTP2_FLAG_END_STREAM) == 0) {
        connection.charge(H2Budget::Cost::empty_data);
    } else if (frame->type == NGHTTP2_SETTINGS && !is_answer) {
        connection.charge(H2Budget::Cost::settings);
    } else if (frame->type == NGHTTP2_PING) {
        if (is_answer || !std::exchange(connection.may_ping_, false)) {
            connection.charge(H2Budget::Cost::ping);
        }
    } else if (frame->type == NGHTTP2_PRIORITY && frame->stream_id == 0) { // RFC 9113 §6.3; nghttp2 looks at none of them
        connection.go_away(NGHTTP2_PROTOCOL_ERROR);
    } else if (frame->type == NGHTTP2_PRIORITY || frame->type == NGHTTP2_PRIORITY_UPDATE) {
        connection.charge(H2Budget::Cost::priority);
    }
    return 0;
}

int H2Connection::on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self)
{
    H2Connection& connection = connection_of(self);
    if (frame->hd.type == NGHTTP2_HEADERS) {
        connection.on_head_received(*frame);
    } else if (frame->hd.type == NGHTTP2_DATA && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        if (H2Stream* stream = connection.stream_of(frame->hd.stream_id); stream != nullptr) {
            stream->on_request_end();
        }
    } else if (frame->hd.type == NGHTTP2_RST_STREAM) {
        H2Stream* stream = connection.stream_of(frame->hd.stream_id);
        if (stream != nullptr && !stream->is_answered) {
            connection.charge(H2Budget::Cost::early_reset);
        }
    }
    return 0;
}

int H2Connection::on_body(nghttp2_session* frames, std::uint8_t, std::int32_t id, const std::uint8_t* bytes, std::size_t size,
                          void* self)
{
    H2Stream* stream = connection_of(self).stream_of(id);
    if (stream == nullptr || stream->is_done || stream->is_closed) {
        nghttp2_session_consume(frames, id, size);
        return 0;
    }
    stream->incoming.append_copy(h2_text(bytes, size));
    connection_of(self).share_.add(size);
    stream->wake.kick_later();
    return 0;
}

int H2Connection::on_close(nghttp2_session* frames, std::int32_t id, std::uint32_t, void* self)
{
    H2Connection& connection = connection_of(self);
    H2Stream* stream = connection.stream_of(id);
    if (stream == nullptr) {
        return 0;
    }
    nghttp2_session_set_stream_user_data(frames, id, nullptr);
    stream->on_closed();
    connection.closed_in_work_ += stream->is_started() && !stream->is_done ? 1 : 0;
    const bool waits_to_start = std::ranges::find(connection.begun_, stream) != connection.begun_.end();
    if (stream->is_done || (!stream->is_started() && !waits_to_start)) {
        stream->insert_before(connection.ended_);
        connection.client_.wake.kick_later();
    }
    return 0;
}

int H2Connection::on_sent(nghttp2_session*, const nghttp2_frame* frame, void* self)
{
    const bool has_end = (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
                         (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    H2Connection& connection = connection_of(self);
    connection.may_ping_ = connection.may_ping_ || frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        connection.charge_reset(frame->rst_stream.error_code);
    } else if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
        connection.parts_.row.add(shm::Metric::h2_cut, std::exchange(connection.has_failed_, true) ? 0 : 1);
    }
    H2Stream* stream = has_end ? connection.stream_of(frame->hd.stream_id) : nullptr;
    if (stream == nullptr) {
        return 0;
    }
    stream->is_end_sent = true;
    if (stream->is_done && !stream->has_request_ended) {
        connection.reset(*stream, NGHTTP2_NO_ERROR); // RFC 9113 §8.1: the rest of the request is not wanted
    }
    return 0;
}

/// RST_STREAM that we send because of what the client did: it costs us a request's work as its own would.
void H2Connection::charge_reset(std::uint32_t code) noexcept
{
    switch (code) {
    case NGHTTP2_NO_ERROR:
    case NGHTTP2_CANCEL:
    case NGHTTP2_INTERNAL_ERROR: return;
    case NGHTTP2_REFUSED_STREAM:
        parts_.row.add(shm::Metric::h2_refused_streams);
        return charge(H2Budget::Cost::refused_stream);
    default: return charge(H2Budget::Cost::stream_error);
    }
}

ssize_t H2Connection::on_read(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t size, std::uint32_t* flags,
                              nghttp2_data_source* source, void* self)
{
    auto& stream = *static_cast<H2Stream*>(source->ptr);
    const std::size_t n = std::min(size, stream.available());
    const bool is_last = n == stream.available() && stream.is_whole();
    if (n == 0 && !is_last) {
        stream.is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (is_last) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (!stream.trailers.empty()) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            connection_of(self).on_trailers_sent(stream);
        }
    }
    return static_cast<ssize_t>(n);
}

int H2Connection::on_send_body(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t size,
                               nghttp2_data_source* source, void* self)
{
    H2Connection& connection = connection_of(self);
    connection.take_frame(*static_cast<H2Stream*>(source->ptr), h2_text(head, kH2FrameHead), size);
    connection.is_paused_ = connection.out_.bytes() + connection.gathered_bytes_ >= kOutMost;
    return connection.is_paused_ ? NGHTTP2_ERR_PAUSE : 0;
}

} // namespace ladle::worker
