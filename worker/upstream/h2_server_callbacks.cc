// SPDX-License-Identifier: Apache-2.0
//
// What nghttp2 calls of an H2ServerConnection, and how its session is set up.
#include "common/base/assert.h"
#include "worker/upstream/h2_pool.h"
#include "worker/upstream/h2_server_connection.h"

#include <algorithm>

namespace ladle::worker {

namespace {

constexpr std::size_t kMostHeadSent = 1 << 20; ///< bytes of a request's fields: what was let in is let out

H2ServerConnection& server_connection_of(void* self) noexcept
{
    return *static_cast<H2ServerConnection*>(self);
}

} // namespace

nghttp2_session* H2ServerConnection::make_session(H2ServerConnection& self)
{
    const H2Options options = make_h2_options();
    nghttp2_option_set_max_send_header_block_length(options.get(), kMostHeadSent);
    nghttp2_session* made = nullptr;
    LADLE_ASSERT(nghttp2_session_client_new2(&made, h2_callbacks<H2ServerConnection>(), &self, options.get()) == 0);
    return made;
}

int H2ServerConnection::on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self)
{
    if (H2ServerStream* stream = server_connection_of(self).stream_of(frame->hd.stream_id); stream != nullptr) {
        stream->begin_head();
    }
    return 0;
}

int H2ServerConnection::on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                                  const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self)
{
    if (H2ServerStream* stream = server_connection_of(self).stream_of(frame->hd.stream_id); stream != nullptr) {
        stream->add_field(h2_text(name, name_size), h2_text(value, value_size));
    }
    return 0;
}

/// RFC 9113 §8.1.1: a malformed response is a stream error.
int H2ServerConnection::on_invalid_header(nghttp2_session* frames, const nghttp2_frame* frame, const std::uint8_t*, std::size_t,
                                          const std::uint8_t*, std::size_t, std::uint8_t, void* self)
{
    if (H2ServerStream* stream = server_connection_of(self).stream_of(frame->hd.stream_id); stream != nullptr) {
        stream->on_malformed();
    }
    nghttp2_submit_rst_stream(frames, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_PROTOCOL_ERROR);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/// nghttp2 resets the stream, or ends the connection.
int H2ServerConnection::on_invalid_frame(nghttp2_session*, const nghttp2_frame* frame, int, void* self)
{
    H2ServerConnection& connection = server_connection_of(self);
    connection.charge(H2Budget::Cost::malformed);
    if (H2ServerStream* stream = connection.stream_of(frame->hd.stream_id); stream != nullptr) {
        stream->on_malformed();
    }
    return 0;
}

/// What frames cost, before anything is done with them.
int H2ServerConnection::on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* frame, void* self)
{
    H2ServerConnection& connection = server_connection_of(self);
    const bool is_answer = (frame->flags & NGHTTP2_FLAG_ACK) != 0;
    const bool is_payload = frame->type == NGHTTP2_DATA || frame->type == NGHTTP2_HEADERS || frame->type == NGHTTP2_CONTINUATION;
    if (is_payload && frame->length > 0) {
        connection.budget_.count_payload(frame->length);
        connection.next_ping_ = 0;
        return 0;
    }
    connection.budget_.count_control(frame->length + kH2FrameHead);
    if (frame->type == NGHTTP2_DATA && (frame->flags & NGHTTP2_FLAG_END_STREAM) == 0) {
        connection.charge(H2Budget::Cost::empty_data);
    } else if (frame->type == NGHTTP2_SETTINGS && !is_answer && connection.is_ready_) {
        connection.charge(H2Budget::Cost::settings);
    } else if (frame->type == NGHTTP2_PING && !is_answer) {
        connection.budget_.charge(H2Budget::Cost::ping, connection.loop_.now()); // gRPC servers measure the way with them
    }
    return 0;
}

int H2ServerConnection::on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self)
{
    H2ServerConnection& connection = server_connection_of(self);
    if (frame->hd.type == NGHTTP2_HEADERS) {
        connection.on_head(*frame);
    } else if (frame->hd.type == NGHTTP2_DATA && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        if (H2ServerStream* stream = connection.stream_of(frame->hd.stream_id); stream != nullptr) {
            stream->on_response_end();
        }
    } else if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
        connection.on_settings();
    } else if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code == NGHTTP2_REFUSED_STREAM) {
        connection.on_refusal();
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        connection.on_goaway(frame->goaway.error_code);
    }
    return 0;
}

int H2ServerConnection::on_body(nghttp2_session* frames, std::uint8_t, std::int32_t id, const std::uint8_t* bytes, std::size_t size,
                                void* self)
{
    H2ServerConnection& connection = server_connection_of(self);
    nghttp2_session_consume_connection(frames, size);
    if (H2ServerStream* stream = connection.stream_of(id); stream != nullptr) {
        connection.body_bytes_ += size;
        stream->add_body(connection.transport_->input.block(), h2_text(bytes, size));
    }
    return 0;
}

int H2ServerConnection::on_close(nghttp2_session* frames, std::int32_t id, std::uint32_t code, void* self)
{
    H2ServerConnection& connection = server_connection_of(self);
    --connection.open_;
    if (H2ServerStream* stream = connection.stream_of(id); stream != nullptr) {
        if (code == NGHTTP2_REFUSED_STREAM) {
            connection.row_.add(shm::Metric::server_h2_refused);
        } else if (!stream->has_response_ended()) {
            connection.row_.add(shm::Metric::server_h2_resets);
        }
        nghttp2_session_set_stream_user_data(frames, id, nullptr);
        stream->on_closed(code);
    }
    connection.mark_idle();
    if (connection.open_ == 0 && connection.pool_.count_idle() > connection.keepalive_idle_) {
        connection.is_leaving_ = true;
    }
    connection.wake_.kick_later();
    connection.pool_.stir(1);
    return 0;
}

int H2ServerConnection::on_sent(nghttp2_session*, const nghttp2_frame* frame, void* self)
{
    H2ServerConnection& connection = server_connection_of(self);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && connection.failure_.empty()) {
        connection.failure_ = connection.is_ready_ ? "the server broke the protocol: " : "the server does not speak HTTP/2: ";
        connection.failure_ += nghttp2_http2_strerror(frame->goaway.error_code);
    }
    return 0;
}

ssize_t H2ServerConnection::on_read(nghttp2_session*, std::int32_t id, std::uint8_t*, std::size_t size, std::uint32_t* flags,
                                    nghttp2_data_source*, void* self)
{
    H2ServerConnection& connection = server_connection_of(self);
    H2ServerStream* stream = connection.stream_of(id);
    if (stream == nullptr) {
        return NGHTTP2_ERR_DEFERRED; // it is about to be reset
    }
    const std::size_t n = std::min(size, stream->out.bytes());
    const bool is_last = n == stream->out.bytes() && stream->is_whole();
    if (n == 0 && !is_last) {
        stream->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (is_last) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (!stream->request_trailers.empty()) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            connection.on_trailers_sent(*stream);
        }
    }
    return static_cast<ssize_t>(n);
}

int H2ServerConnection::on_send_body(nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* head, std::size_t size,
                                     nghttp2_data_source*, void* self)
{
    H2ServerConnection& connection = server_connection_of(self);
    H2ServerStream* stream = connection.stream_of(frame->hd.stream_id);
    if (stream == nullptr) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    connection.budget_.count_payload(size);
    connection.out_.append_copy(h2_text(head, kH2FrameHead));
    stream->out.move_to(connection.out_, size);
    if (!stream->is_pushing) {
        stream->post_news(); // something of it has gone
    }
    connection.is_paused_ = connection.out_.bytes() >= kOutMost;
    return connection.is_paused_ ? NGHTTP2_ERR_PAUSE : 0;
}

} // namespace ladle::worker
