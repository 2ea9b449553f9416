// SPDX-License-Identifier: Apache-2.0
//
// What our sessions of nghttp2 have in common, with clients and with servers: the table of callbacks, and how much of what costs us
// a peer may send. In the worker.
#pragma once

#include "common/base/assert.h"

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace ladle::worker {

inline constexpr std::size_t kH2FrameHead = 9; ///< bytes before each frame

/// As nghttp2 hands it over.
inline std::string_view h2_text(const std::uint8_t* bytes, std::size_t size) noexcept
{
    return {reinterpret_cast<const char*>(bytes), size};
}

using H2Options = std::unique_ptr<nghttp2_option, decltype([](nghttp2_option* options) { nghttp2_option_del(options); })>;

/// No window is opened but as bodies are taken; nghttp2 ends a session whose peer goes beyond the limits.
inline H2Options make_h2_options()
{
    constexpr std::size_t kMostAcks = 100;        // answers to PING and SETTINGS that wait to be sent
    constexpr std::size_t kMostSettings = 32;     // entries of one SETTINGS frame
    constexpr std::size_t kMostContinuations = 8; // frames behind one HEADERS
    nghttp2_option* options = nullptr;
    LADLE_ASSERT(nghttp2_option_new(&options) == 0);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_max_outbound_ack(options, kMostAcks);
    nghttp2_option_set_max_settings(options, kMostSettings);
    nghttp2_option_set_max_continuations(options, kMostContinuations);
    return H2Options(options);
}

/// The on_…() of a connection, which has all of them and is a friend of this; made once.
template <class Connection>
nghttp2_session_callbacks* h2_callbacks()
{
    static nghttp2_session_callbacks* const all = [] {
        nghttp2_session_callbacks* made = nullptr;
        LADLE_ASSERT(nghttp2_session_callbacks_new(&made) == 0);
        nghttp2_session_callbacks_set_on_begin_headers_callback(made, &Connection::on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(made, &Connection::on_header);
        nghttp2_session_callbacks_set_on_invalid_header_callback(made, &Connection::on_invalid_header);
        nghttp2_session_callbacks_set_on_begin_frame_callback(made, &Connection::on_begin_frame);
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(made, &Connection::on_invalid_frame);
        nghttp2_session_callbacks_set_on_frame_recv_callback(made, &Connection::on_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, &Connection::on_body);
        nghttp2_session_callbacks_set_on_stream_close_callback(made, &Connection::on_close);
        nghttp2_session_callbacks_set_on_frame_send_callback(made, &Connection::on_sent);
        nghttp2_session_callbacks_set_send_data_callback(made, &Connection::on_send_body);
        return made;
    }();
    return all;
}

} // namespace ladle::worker
