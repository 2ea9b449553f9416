// SPDX-License-Identifier: Apache-2.0
//
// H2ServerConnection: the frames of one HTTP/2 connection to a server (RFC 9113), on nghttp2. Runs by itself, as a task of its
// own: takes what the socket has, writes what all its streams have to say once a loop turn, asks with a PING whether a silent
// server is still there, and leaves when it is told to or has been idle. Owned by the H2Pool; its streams are owned by the Turns
// of exchanges, and each side outlives the other's end. No exchange runs, and nothing is destroyed, in a callback of nghttp2.
//
// What a server can make it hold: kOutMost bytes of frames to be written, and of each stream its window, a few heads, and trailers.
// Bytes count as taken from the connection's window at once, so that a stream whose client is slow stops only itself.
#pragma once

#include "common/loop/task.h"
#include "worker/net/alarm.h"
#include "worker/net/h2_budget.h"
#include "worker/net/h2_session.h"
#include "worker/upstream/h2_server_stream.h"
#include "worker/upstream/server_connection.h"

#include <nghttp2/nghttp2.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::worker {

class H2Pool;
struct H2Greeting;

/// What an upstream wants of a connection.
struct H2Terms {
    std::string_view upstream;   ///< name, for the log; used at once
    std::string_view server;     ///< text, likewise
    bool is_encrypted;           ///< the scheme is https
    std::uint32_t keepalive_idle;
    std::chrono::milliseconds keepalive_timeout;
    std::size_t head_bytes;      ///< of a response's head
};

class H2ServerConnection : public loop::Link {
public:
    H2ServerConnection(H2Pool& pool, loop::Loop& loop, shm::ProcessRow& row, std::unique_ptr<ServerConnection> transport,
                       const H2Terms& terms);
    ~H2ServerConnection();
    H2ServerConnection(const H2ServerConnection&) = delete;
    H2ServerConnection& operator=(const H2ServerConnection&) = delete;

    /// Begins to speak; `greeting` is told how that went.
    void start(H2Greeting& greeting);
    /// The server has said that it speaks HTTP/2, too.
    bool is_ready() const noexcept { return is_ready_; }
    /// Takes in what has come: a GOAWAY, or the end, may stand in the socket.
    void catch_up();
    /// Streams that may be opened now.
    std::size_t room() const noexcept;
    bool is_idle() const noexcept { return open_ == 0; }
    bool has_carried() const noexcept { return has_carried_; }
    ServerConnection& transport() noexcept { return *transport_; }
    /// Precondition: room() > 0.
    std::unique_ptr<ServerStream> open(const H2Terms& terms);
    /// No new streams; closes once the last one has ended.
    void leave() noexcept;
    void forget_greeting() noexcept { greeting_ = nullptr; }

    // For streams.
    /// Sends the head that stands in the stream's head_room().
    void submit(H2ServerStream& stream, Coding coding);
    /// Makes frames of what the stream has lined up; they are written at the end of the loop's turn.
    void push(H2ServerStream& stream);
    /// So many bytes of the response's body were taken: the server may send more.
    void took(H2ServerStream& stream, std::size_t bytes) noexcept;
    void widen_window(H2ServerStream& stream) noexcept;
    /// The stream's response did not come in time. Where nothing at all came, the connection may be dead: it takes no new streams.
    void on_timeout(const H2ServerStream& stream) noexcept;
    /// The stream's owner wants no more of it.
    void forget(H2ServerStream& stream) noexcept;

    static constexpr std::size_t kOutMost = 64 << 10;
    static constexpr std::uint32_t kMostStreams = 100; ///< of one connection, whatever the server allows

private:
    static nghttp2_session* make_session(H2ServerConnection& self);
    friend nghttp2_session_callbacks* h2_callbacks<H2ServerConnection>();
    loop::Task<void> run();
    void begin();
    void receive();
    void take_in();
    void frame();
    void write();
    void set_alarm() noexcept;
    void on_alarm();
    void look_after_silence();
    bool is_over() const noexcept;
    void end();
    void fail(std::string_view why);
    void say_goodbye() noexcept;
    void charge(H2Budget::Cost cost) noexcept;
    void on_settings();
    void on_goaway(std::uint32_t code);
    void on_refusal() noexcept;
    void be_fruitless() noexcept;
    void on_head(const nghttp2_frame& frame);
    void on_trailers_sent(H2ServerStream& stream);
    void add_lines(std::string_view lines);
    void add_field(std::string_view name, std::string_view value);
    void mark_idle() noexcept;
    H2ServerStream* stream_of(std::int32_t id) const noexcept;

    static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self);
    static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                         const std::uint8_t* value, std::size_t value_size, std::uint8_t flags, void* self);
    static int on_invalid_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                                 const std::uint8_t* value, std::size_t value_size, std::uint8_t flags, void* self);
    static int on_invalid_frame(nghttp2_session*, const nghttp2_frame* frame, int code, void* self);
    static int on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* frame, void* self);
    static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self);
    static int on_body(nghttp2_session*, std::uint8_t flags, std::int32_t id, const std::uint8_t* bytes, std::size_t size,
                       void* self);
    static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t code, void* self);
    static int on_sent(nghttp2_session*, const nghttp2_frame* frame, void* self);
    static ssize_t on_read(nghttp2_session*, std::int32_t id, std::uint8_t* at, std::size_t size, std::uint32_t* flags,
                           nghttp2_data_source* source, void* self);
    static int on_send_body(nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* head, std::size_t size,
                            nghttp2_data_source* source, void* self);

    enum class Waits : std::uint8_t { nothing, greeting, idle, streams, goodbye };

    H2Pool& pool_;
    loop::Loop& loop_;
    shm::ProcessRow& row_;
    std::unique_ptr<ServerConnection> transport_;
    std::string upstream_text_;
    std::string server_text_;
    std::size_t head_bytes_;
    std::chrono::milliseconds keepalive_timeout_;
    std::uint32_t keepalive_idle_;
    nghttp2_session* frames_;
    loop::Wake wake_;
    Alarm alarm_;
    H2Budget budget_;
    H2Greeting* greeting_ = nullptr; ///< null = nobody waits for it
    loop::Link streams_;             ///< whose owners still want them
    std::size_t open_ = 0;           ///< streams, also those that nobody wants any more until they are closed
    std::vector<nghttp2_nv> fields_; ///< of the head that is being sent
    Chain scratch_;                  ///< heads are composed here
    Chain out_;                      ///< frames, to be written
    std::uint64_t body_bytes_ = 0;   ///< of bodies, in what is being taken in: the streams' readers count them
    std::string failure_;            ///< why it ends; empty = for no fault
    loop::Nanos last_heard_ = 0;
    loop::Nanos pinged_at_ = 0;      ///< 0 = no answer is awaited
    loop::Nanos next_ping_ = 0;      ///< not before that
    std::uint32_t reads_ = 0;        ///< times that something came; wraps around
    loop::Nanos rests_until_ = 0;    ///< it has refused a stream: no new ones before that
    Waits waits_ = Waits::nothing;
    bool is_encrypted_;
    bool is_ready_ = false;
    bool has_carried_ = false;
    bool has_answered_ = false;
    bool is_counted_idle_ = false;
    bool is_leaving_ = false;        ///< no new streams
    bool has_said_goodbye_ = false;
    bool is_paused_ = false;         ///< nghttp2 stopped because enough is lined up
    bool is_cut_ = false;            ///< nothing more can be said, or heard
    loop::Task<void> main_;          ///< last: its frame uses all of the above
};

} // namespace ladle::worker
