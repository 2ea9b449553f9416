// SPDX-License-Identifier: Apache-2.0
//
// H2Connection: the frames of one client's HTTP/2 connection (RFC 9113), on nghttp2: takes what the socket has, starts an exchange
// for each request, and writes what all exchanges of a loop turn have to say in one system call. Owned by the Session, whose
// socket, input, wake and alarm it uses; owns its streams. Nothing is destroyed, and no exchange runs, in a callback of nghttp2.
//
// What goes out: control frames and heads as nghttp2 writes them, DATA frames of blocks without a copy (`out_`). Memory and files
// that an exchange offers (the cache's) are framed and written at once; what the socket does not take of that is copied, at most
// kGatherMost bytes. So beyond the socket a connection holds no more than kOutMost + kGatherMost, and each stream what its spool
// counts.
#pragma once

#include "common/loop/task.h"
#include "worker/client/connection.h"
#include "worker/client/h2_memory.h"
#include "worker/client/h2_share.h"
#include "worker/client/h2_stream.h"
#include "worker/net/h2_budget.h"
#include "worker/net/h2_session.h"
#include "worker/request/parts.h"

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace ladle::worker {

class Session;

class H2Connection {
public:
    H2Connection(Session& session, ClientConnection& client);
    ~H2Connection();
    H2Connection(const H2Connection&) = delete;
    H2Connection& operator=(const H2Connection&) = delete;

    /// Serves the connection to its end. Its first bytes, the client's preface, stand in the client's input.
    loop::Task<After> run();

    // For streams.
    Session& session() noexcept { return session_; }
    WorkerParts& parts() noexcept { return parts_; }
    Chain& scratch() noexcept { return scratch_; }
    /// Sends a head, composed as HTTP/1 text.
    void submit_head(H2Stream& stream, std::string_view text, const HeadEnd& end);
    /// Makes frames of what the stream has lined up; they are written at the end of the loop's turn.
    void push(H2Stream& stream);
    /// The same, and writes the memory that the stream has borrowed; how much was taken.
    std::size_t push_borrowed(H2Stream& stream);
    /// Whether bytes of its body could go out now.
    bool may_send(const H2Stream& stream) const noexcept;
    /// So many bytes of the request's body were taken: the client may send more.
    void took(H2Stream& stream, std::size_t bytes);
    /// Its body is large: more of it may come at once, until its exchange is over.
    void widen_window(H2Stream& stream) noexcept;
    /// Counts what the stream holds now.
    void weigh(H2Stream& stream) noexcept;
    /// The exchange is over.
    void on_done(H2Stream& stream);
    /// The client has done something that honest ones seldom do.
    void charge(H2Budget::Cost cost) noexcept;

    static constexpr std::size_t kOutMost = 64 << 10;
    static constexpr std::size_t kGatherMost = 64 << 10;

private:
    static constexpr std::size_t kFirstTake = 2 << 10; ///< bytes in a turn, of a client that is new or did something odd

    enum class Waits : std::uint8_t { nothing, exchanges, client, head, request };

    nghttp2_session* frames() const noexcept
    {
        memory_.use();
        return frames_;
    }
    static nghttp2_session* make_session(H2Connection& self, const config::Http2Limits& limits);
    friend nghttp2_session_callbacks* h2_callbacks<H2Connection>();
    void begin();
    void receive();
    bool is_patient() const noexcept { return client_.wake.news().is_patient(); }
    void set_patient(bool is_patient) noexcept;
    bool may_take_in() const noexcept;
    bool read_more();
    std::size_t take_in(std::size_t most);
    void follow_handshake();
    void start_requests();
    bool has_tiny_windows() const noexcept;
    bool start_or_refuse(H2Stream& stream, std::size_t waiting);
    void narrow_window(H2Stream& stream) noexcept;
    bool waits_for_room(H2Stream& stream);
    void frame();
    void write();
    void write_some();
    void flush_gathered();
    void gather(const char* at, std::size_t size);
    void take_frame(H2Stream& stream, std::string_view head, std::size_t length);
    void count(const Io& io) noexcept;
    void wake_waiting();
    void follow_drain();
    void enforce_budget();
    void charge_reset(std::uint32_t code) noexcept;
    void watch_rates();
    bool is_too_slow(H2Stream& stream) noexcept;
    void go_away(std::uint32_t code);
    void give_up();
    void set_alarm();
    void on_alarm();
    bool is_over() const noexcept;
    void reap();
    void reset(H2Stream& stream, std::uint32_t code);
    H2Stream* stream_of(std::int32_t id) const noexcept;
    void add_lines(std::string_view lines);
    bool is_passed_over(std::int32_t id) noexcept;
    void on_head_received(const nghttp2_frame& frame);
    void on_trailers_sent(H2Stream& stream);

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

    Session& session_;
    ClientConnection& client_;
    WorkerParts& parts_;
    mutable H2Memory memory_;
    nghttp2_session* const frames_; ///< use frames()
    Alarm drain_alarm_;
    Alarm rate_alarm_;
    Alarm trust_alarm_;
    Alarm room_alarm_;
    H2Budget budget_;
    std::size_t excess_bytes_ = 0; ///< of fields beyond what a head may have, that were not charged yet
    H2Share share_;
    std::size_t take_most_ = kFirstTake; ///< bytes in the next turn: grows while the client behaves
    std::uint64_t framed_ = 0;      ///< bytes of bodies sent since rates were looked at
    std::uint64_t written_ = 0;     ///< likewise, of anything
    bool was_blocked_ = false;      ///< the socket took nothing more then
    bool is_watching_ = false;      ///< the rates
    bool was_odd_ = false;          ///< something was charged in this turn
    bool may_ping_ = true;          ///< something of a response was sent since its last PING
    bool is_strained_ = false;      ///< three quarters of the budget were used up
    loop::Link streams_; ///< all that are not ended
    loop::Link ended_;   ///< to be destroyed by reap()
    std::vector<H2Stream*> begun_; ///< heads that are complete and not started
    std::size_t in_work_ = 0;      ///< exchanges under way
    std::size_t closed_in_work_ = 0; ///< those of them whose stream is closed: for the client they do not count any more
    std::optional<unsigned> room_for_; ///< more requests beside others, as share_ said in this turn; nothing = ask
    std::size_t waiting_bytes_ = 0; ///< of begun_, those that wait for room in the budget
    unsigned wide_streams_ = 0;
    std::int32_t last_head_ = -1;  ///< the highest stream that the client has begun
    struct Gap {
        std::int32_t first = 0;
        std::int32_t last = 0;
    };
    std::array<Gap, 8> gaps_{}; ///< streams below it that were never begun, the latest
    unsigned gap_count_ = 0;    ///< of all that there were
    std::vector<nghttp2_nv> fields_; ///< of the head that is being sent
    Chain scratch_;                ///< heads are composed here
    Chain out_;                    ///< frames, to be written
    std::array<iovec, Socket::kMoreVectors> gathered_{}; ///< to be written behind out_
    int gathered_count_ = 0;
    std::size_t gathered_bytes_ = 0;
    std::array<char, Socket::kMoreVectors * kH2FrameHead> frame_heads_{}; ///< in gathered_
    Waits waits_ = Waits::nothing;
    bool has_written_ = false;      ///< since the alarm was set
    bool has_started_ = false;      ///< a request, likewise
    bool is_paused_ = false;        ///< nghttp2 stopped because enough is lined up
    bool is_head_open_ = false;     ///< a header block has begun and not ended
    bool some_want_room_ = false;
    bool has_said_leaving_ = false; ///< the first GOAWAY of two
    bool is_leaving_ = false;       ///< the final GOAWAY was submitted
    bool has_failed_ = false;       ///< it was told of an error
    bool is_cut_ = false;           ///< nothing more can be said
};

} // namespace ladle::worker
