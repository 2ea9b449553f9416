// SPDX-License-Identifier: Apache-2.0
#include "worker/client/h2_connection.h"

#include "common/os/log.h"
#include "worker/client/session.h"
#include "worker/net/address.h"
#include "worker/net/h2_fields.h"
#include "worker/request/identify.h"

#include <algorithm>
#include <utility>

namespace ladle::worker {

namespace {

constexpr unsigned kWritesPerTurn = 16;
constexpr std::int32_t kWideWindow = 512 << 10;           // of a stream whose body is being taken
constexpr std::int32_t kWideConnectionWindow = 1 << 20;   // while there are such: received and not taken, of all streams
constexpr std::int32_t kSmallWindow = 1024;          // less is what a stream waits for
constexpr std::chrono::milliseconds kNoticeTime{1000}; // between the two GOAWAYs: what is on its way still arrives
constexpr std::chrono::milliseconds kGiveUpTime{5000}; // for exchanges whose client has gone

/// A proxy that we trust, or one behind a Unix socket, brings the requests of many clients.
std::uint32_t bucket_of(const ClientConnection& client, const config::Config& config, const shm::Regions& regions) noexcept
{
    const auto peer = address_of(client.peer);
    const bool is_proxy = !peer || is_in(config.forwarded_from, *peer);
    return is_proxy ? SpoolBudget::kNoClient : client_bucket_of(client.peer_text, regions);
}

} // namespace

H2Connection::H2Connection(Session& session, ClientConnection& client)
    : session_(session), client_(client), parts_(session.parts()), frames_(make_session(*this, session.http2_limits())),
      drain_alarm_(client.wake), rate_alarm_(client.wake), trust_alarm_(client.wake), room_alarm_(client.wake),
      budget_(session.http2_limits().glitches, session.http2_limits().glitches_per_s),
      share_(parts_.budget, bucket_of(client, *session.newest_config()->config, parts_.regions))
{
    parts_.row.add(shm::Metric::h2_connections);
}

H2Connection::~H2Connection()
{
    for (loop::Link* list : {&streams_, &ended_}) {
        while (list->is_linked()) {
            delete static_cast<H2Stream*>(list->next);
        }
    }
    nghttp2_session_del(frames());
}

void H2Connection::begin()
{
    const config::Config& config = *session_.newest_config()->config;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, config.http2_limits.streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, config.request_limits.head_bytes},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    nghttp2_submit_settings(frames(), NGHTTP2_FLAG_NONE, settings, std::size(settings));
}

loop::Task<After> H2Connection::run()
{
    begin();
    for (;;) {
        receive();
        follow_handshake();
        frame(); // streams that were reset for what followed in their own wake end here, before any work is begun for them
        enforce_budget();
        start_requests();
        follow_drain();
        watch_rates();
        write();
        reap();
        if (is_over()) {
            break;
        }
        set_alarm();
        co_await client_.wake.wait();
        if (client_.alarm.rang()) {
            on_alarm();
        }
    }
    session_.end_idle();
    give_up();
    client_.alarm.set(kGiveUpTime);
    while (in_work_ > 0 && !client_.alarm.rang()) {
        reap();
        co_await client_.wake.wait();
    }
    client_.alarm.clear();
    drain_alarm_.clear();
    rate_alarm_.clear();
    trust_alarm_.clear();
    room_alarm_.clear();
    co_return client_.is_gone ? After::abort : After::close;
}

/// Whether nothing more is to be done for this client.
bool H2Connection::is_over() const noexcept
{
    if (is_cut_ || client_.is_gone) {
        return true;
    }
    return out_.empty() && !nghttp2_session_want_read(frames()) && !nghttp2_session_want_write(frames());
}

/// Tells the exchanges that their client has gone.
void H2Connection::give_up()
{
    for (loop::Link* at = streams_.next; at != &streams_; at = at->next) {
        auto& stream = static_cast<H2Stream&>(*at);
        stream.is_gone = true;
        stream.wake.kick_later();
    }
}

void H2Connection::go_away(std::uint32_t code)
{
    is_leaving_ = true;
    nghttp2_session_terminate_session(frames(), code);
}

/// The worker drains, or its listener is gone: no new requests, in two steps (RFC 9113 §6.8), so that none on its way is lost.
void H2Connection::follow_drain()
{
    if (session_.is_closing() && in_work_ == 0) {
        go_away(NGHTTP2_NO_ERROR);
        return;
    }
    const bool is_asked = session_.is_closing() || parts_.is_draining || session_.listener_is_gone() || is_strained_;
    if (is_asked && !has_said_leaving_) {
        has_said_leaving_ = true;
        nghttp2_submit_shutdown_notice(frames());
        drain_alarm_.set(kNoticeTime);
    } else if (has_said_leaving_ && drain_alarm_.rang() && !is_leaving_) {
        is_leaving_ = true;
        const std::int32_t last = nghttp2_session_get_last_proc_stream_id(frames());
        nghttp2_submit_goaway(frames(), NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, nullptr, 0);
    }
}

/// Whether it waited for its client's windows all the time since the last look, and got less through than min_rate.
bool H2Connection::is_too_slow(H2Stream& stream) noexcept
{
    const config::Http2Limits& limits = session_.http2_limits();
    const std::uint64_t least = limits.min_rate_per_s * static_cast<std::uint64_t>(limits.grace.count()) / 1000;
    const bool is_open = stream.is_answered && !stream.is_closed && !stream.is_end_sent;
    const bool waits = is_open && (stream.available() > 0 || stream.wants_room());
    const bool by_stream = waits && nghttp2_session_get_stream_remote_window_size(frames(), stream.id) < kSmallWindow;
    const bool by_connection = waits && nghttp2_session_get_remote_window_size(frames()) < kSmallWindow;
    const bool was_blocked = std::exchange(stream.was_blocked, by_stream || by_connection);
    const std::uint64_t framed = std::exchange(stream.framed, 0);
    return was_blocked && ((by_stream && framed < least) || (by_connection && framed_ < least));
}

/// A client that opens its windows byte by byte, or reads so, would hold its requests for ever with what counts as progress.
void H2Connection::watch_rates()
{
    const config::Http2Limits& limits = session_.http2_limits();
    if (is_watching_ && rate_alarm_.rang() && limits.min_rate_per_s != 0) {
        const std::uint64_t least = limits.min_rate_per_s * static_cast<std::uint64_t>(limits.grace.count()) / 1000;
        for (loop::Link* at = streams_.next; at != &streams_; at = at->next) {
            auto& stream = static_cast<H2Stream&>(*at);
            if (is_too_slow(stream)) {
                parts_.row.add(shm::Metric::h2_slow);
                reset(stream, NGHTTP2_ENHANCE_YOUR_CALM);
            }
        }
        const bool is_blocked = !out_.empty() && !client_.socket.may_write();
        if (std::exchange(was_blocked_, is_blocked) && is_blocked && written_ < least) {
            parts_.row.add(shm::Metric::h2_slow);
            client_.is_gone = true;
        }
        framed_ = written_ = 0;
        is_watching_ = false;
    }
    if (!is_watching_ && (in_work_ > 0 || !out_.empty())) {
        is_watching_ = true;
        rate_alarm_.set(limits.grace);
    }
}

void H2Connection::set_alarm()
{
    Waits now = in_work_ > 0 ? Waits::exchanges : Waits::request;
    now = is_head_open_ ? Waits::head : now;
    now = out_.empty() ? now : Waits::client;
    if (now == Waits::request) {
        session_.begin_idle();
    } else {
        session_.end_idle();
    }
    const bool has_moved = now == Waits::client ? has_written_ : now == Waits::request && has_started_;
    if (now == waits_ && !has_moved) {
        return;
    }
    waits_ = now;
    has_written_ = has_started_ = false;
    const config::Timeouts& timeouts = session_.timeouts();
    switch (now) {
    case Waits::client: return client_.alarm.set(timeouts.stall);
    case Waits::head: return client_.alarm.set(timeouts.header);
    case Waits::request: return client_.alarm.set(session_.idle_time());
    default: return client_.alarm.clear();
    }
}

void H2Connection::on_alarm()
{
    client_.alarm.clear();
    switch (std::exchange(waits_, Waits::nothing)) {
    case Waits::client: client_.is_gone = true; return;
    case Waits::head:
    case Waits::request: return go_away(NGHTTP2_NO_ERROR);
    default: return;
    }
}

void H2Connection::on_done(H2Stream& stream)
{
    --in_work_;
    stream.is_done = true;
    narrow_window(stream);
    if (stream.is_closed) {
        --closed_in_work_;
        stream.insert_before(ended_);
    } else {
        if (!stream.is_ended && stream.left != 0) {
            reset(stream, stream.is_gone ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR); // never a clean end of what had none
        } else if (stream.is_end_sent && !stream.has_request_ended) {
            reset(stream, NGHTTP2_NO_ERROR); // RFC 9113 §8.1: the rest of the request is not wanted
        }
        took(stream, stream.incoming.bytes());
        stream.incoming.clear();
    }
    weigh(stream);
    client_.wake.kick_later();
}

void H2Connection::reset(H2Stream& stream, std::uint32_t code)
{
    nghttp2_submit_rst_stream(frames(), NGHTTP2_FLAG_NONE, stream.id, code);
}

void H2Connection::reap()
{
    while (ended_.is_linked()) {
        auto* stream = static_cast<H2Stream*>(ended_.next);
        nghttp2_session_consume_connection(frames(), stream->incoming.bytes()); // what nobody took
        share_.subtract(stream->weight + stream->incoming.bytes());
        delete stream;
    }
}

/// Bytes in its spool are counted there; but everyone may hold the first of them, and those are in what it counts for here.
void H2Connection::weigh(H2Stream& stream) noexcept
{
    const bool is_in_work = stream.is_started() && !stream.is_done;
    const bool is_quiet = stream.is_answered && stream.out.empty();
    const std::size_t weight = !is_in_work ? H2Share::kHead : is_quiet ? H2Share::kQuiet : H2Share::kBusy;
    const std::size_t before = std::exchange(stream.weight, weight + (stream.is_done ? 0 : stream.received_head));
    if (stream.weight >= before) {
        share_.add(stream.weight - before);
    } else {
        share_.subtract(before - stream.weight);
    }
}

bool H2Connection::may_send(const H2Stream& stream) const noexcept
{
    return client_.socket.may_write() && out_.bytes() < kOutMost && !stream.is_closed &&
           nghttp2_session_get_stream_remote_window_size(frames(), stream.id) > 0 &&
           nghttp2_session_get_remote_window_size(frames()) > 0;
}

void H2Connection::took(H2Stream& stream, std::size_t bytes)
{
    if (bytes > 0) {
        share_.subtract(bytes);
        nghttp2_session_consume(frames(), stream.id, bytes);
        client_.wake.kick_later();
    }
}

/// A window is a promise to hold so much: where there is no room for that, uploads go on by 64 KiB at a time.
void H2Connection::widen_window(H2Stream& stream) noexcept
{
    if (wide_streams_ == 0 && !share_.has_room(kWideConnectionWindow)) {
        return;
    }
    stream.is_wide = true;
    nghttp2_session_set_local_window_size(frames(), NGHTTP2_FLAG_NONE, stream.id, kWideWindow);
    if (wide_streams_++ == 0) {
        share_.add(kWideConnectionWindow);
        nghttp2_session_set_local_window_size(frames(), NGHTTP2_FLAG_NONE, 0, kWideConnectionWindow);
    }
}

void H2Connection::narrow_window(H2Stream& stream) noexcept
{
    if (std::exchange(stream.is_wide, false) && --wide_streams_ == 0) {
        share_.subtract(kWideConnectionWindow);
        nghttp2_session_set_local_window_size(frames(), NGHTTP2_FLAG_NONE, 0, NGHTTP2_INITIAL_CONNECTION_WINDOW_SIZE);
    }
}

void H2Connection::push(H2Stream& stream)
{
    if (stream.is_deferred && (stream.available() > 0 || stream.is_ended)) {
        stream.is_deferred = false;
        nghttp2_session_resume_data(frames(), stream.id);
    }
    frame();
    if (!out_.empty()) {
        client_.wake.kick_later();
    }
}

std::size_t H2Connection::push_borrowed(H2Stream& stream)
{
    const std::size_t offered = stream.borrowed_bytes;
    for (;;) {
        const std::size_t before = stream.borrowed_bytes;
        push(stream);
        flush_gathered();
        if (stream.borrowed_bytes == 0 || stream.borrowed_bytes == before || !may_send(stream)) {
            return offered - stream.borrowed_bytes;
        }
    }
}

/// Makes frames until enough is lined up.
void H2Connection::frame()
{
    while (!is_cut_ && out_.bytes() + gathered_bytes_ < kOutMost) {
        is_paused_ = false;
        const std::uint8_t* bytes = nullptr;
        const ssize_t n = nghttp2_session_mem_send(frames(), &bytes);
        if (n < 0) {
            is_cut_ = true;
        } else if (n > 0) {
            flush_gathered();
            out_.append_copy({reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(n)});
        } else if (!is_paused_) {
            return;
        }
    }
}

/// One DATA frame, without copying what can stay where it is.
void H2Connection::take_frame(H2Stream& stream, std::string_view head, std::size_t length)
{
    stream.left -= stream.left == H2Stream::kUnknown ? 0 : length;
    stream.framed += length;
    framed_ += length;
    budget_.count_payload(length);
    if (gathered_count_ == Socket::kMoreVectors) {
        flush_gathered();
    }
    const std::size_t of_blocks = std::min(length, stream.out.bytes());
    std::size_t of_borrowed = length - of_blocks;
    if (of_borrowed == 0 || of_blocks > 0 || gathered_count_ == 0) {
        flush_gathered();
        out_.append_copy(head);
        stream.out.move_to(out_, of_blocks);
    } else {
        char* at = &frame_heads_[static_cast<std::size_t>(gathered_count_) * kH2FrameHead];
        std::copy(head.begin(), head.end(), at);
        gather(at, head.size());
    }
    while (of_borrowed > 0) {
        const iovec& front = *stream.borrowed;
        const std::size_t n = std::min(of_borrowed, front.iov_len - stream.borrowed_at);
        gather(static_cast<const char*>(front.iov_base) + stream.borrowed_at, n);
        of_borrowed -= n;
        stream.borrowed_bytes -= n;
        stream.borrowed_at += n;
        if (stream.borrowed_at == front.iov_len) {
            ++stream.borrowed;
            stream.borrowed_at = 0;
        }
    }
    if (!stream.is_pushing) {
        stream.wake.kick_later(); // something of it has gone
    }
}

void H2Connection::gather(const char* at, std::size_t size)
{
    if (gathered_count_ == Socket::kMoreVectors) {
        flush_gathered();
    }
    gathered_[static_cast<std::size_t>(gathered_count_++)] = {const_cast<char*>(at), size};
    gathered_bytes_ += size;
}

/// Writes what was gathered; what the socket does not take is copied, as its memory is only lent.
void H2Connection::flush_gathered()
{
    if (gathered_count_ == 0) {
        return;
    }
    std::size_t sent = 0;
    if (client_.socket.may_write() && !client_.is_gone) {
        Socket::More more{gathered_.data(), gathered_count_};
        count(client_.socket.write(out_, more));
        sent = more.sent;
    }
    for (int at = 0; at < gathered_count_; ++at) {
        const iovec& piece = gathered_[static_cast<std::size_t>(at)];
        const std::size_t gone = std::min(sent, piece.iov_len);
        sent -= gone;
        out_.append_copy({static_cast<const char*>(piece.iov_base) + gone, piece.iov_len - gone});
    }
    gathered_count_ = 0;
    gathered_bytes_ = 0;
}

void H2Connection::count(const Io& io) noexcept
{
    parts_.row.add(shm::Metric::bytes_to_clients, io.bytes);
    has_written_ = has_written_ || io.bytes > 0;
    written_ += io.bytes;
    client_.is_gone = client_.is_gone || io.state == IoState::failed;
}

void H2Connection::write()
{
    write_some();
    if (client_.is_gone) {
        out_.clear();
    } else if (out_.empty()) {
        out_.clear(); // an idle connection holds no block
    } else if (client_.socket.may_write()) {
        client_.wake.kick_later(); // the other connections have a turn
    }
    if (some_want_room_) {
        wake_waiting();
    }
}

void H2Connection::write_some()
{
    for (unsigned writes = 0; writes < kWritesPerTurn && !client_.is_gone; ++writes) {
        frame();
        if (out_.empty() || !client_.socket.may_write()) {
            return;
        }
        count(client_.socket.write(out_));
        some_want_room_ = true;
    }
}

/// Streams that could not send before may now.
void H2Connection::wake_waiting()
{
    some_want_room_ = false;
    for (loop::Link* at = streams_.next; at != &streams_; at = at->next) {
        auto& stream = static_cast<H2Stream&>(*at);
        if (may_send(stream) && stream.take_want()) {
            stream.wake.kick_later();
        }
    }
}

void H2Connection::add_lines(std::string_view lines)
{
    const auto as_bytes = [](std::string_view text) { return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data())); };
    std::string_view name;
    std::string_view value;
    while (next_field_line(lines, name, value)) {
        fields_.push_back({as_bytes(name), as_bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
}

void H2Connection::submit_head(H2Stream& stream, std::string_view text, const HeadEnd& end)
{
    const bool is_tunnel = end.status == 101;
    std::uint16_t status = is_tunnel ? std::uint16_t{200} : end.status;
    if (stream.head.is_extended_connect() && !is_tunnel && status >= 200 && status < 300) {
        status = 502; // the server did not upgrade: success would say that it did
    }
    std::uint8_t digits[3] = {static_cast<std::uint8_t>('0' + status / 100), static_cast<std::uint8_t>('0' + status / 10 % 10),
                              static_cast<std::uint8_t>('0' + status % 10)};
    std::uint8_t name[] = {':', 's', 't', 'a', 't', 'u', 's'};
    fields_.clear();
    fields_.push_back({name, digits, sizeof name, sizeof digits, NGHTTP2_NV_FLAG_NONE});
    add_lines(text.substr(std::min(text.size(), text.find("\r\n") + 2)));
    if (is_tunnel) {
        std::erase_if(fields_, [](const nghttp2_nv& field) {
            const std::string_view known(reinterpret_cast<const char*>(field.name), field.namelen);
            return http::equals_ignoring_case(known, "sec-websocket-accept"); // RFC 8441 §5
        });
    }
    stream.is_answered = status >= 200;
    int code = 0;
    if (status < 200) {
        code = nghttp2_submit_headers(frames(), NGHTTP2_FLAG_NONE, stream.id, nullptr, fields_.data(), fields_.size(), nullptr);
    } else if (!is_tunnel && (end.form == BodyForm::none || (end.form == BodyForm::length && end.length == 0))) {
        stream.is_ended = true;
        code = nghttp2_submit_response(frames(), stream.id, fields_.data(), fields_.size(), nullptr);
    } else {
        stream.left = end.form == BodyForm::length ? end.length : H2Stream::kUnknown;
        nghttp2_data_provider body{};
        body.source.ptr = &stream;
        body.read_callback = &H2Connection::on_read;
        code = nghttp2_submit_response(frames(), stream.id, fields_.data(), fields_.size(), &body);
    }
    if (code != 0) {
        reset(stream, NGHTTP2_INTERNAL_ERROR);
    }
    scratch_.clear();
}

/// The head of a request is complete: it is started once nghttp2 has returned.
void H2Connection::on_head_received(const nghttp2_frame& frame)
{
    is_head_open_ = false;
    H2Stream* stream = stream_of(frame.hd.stream_id);
    if (stream == nullptr) {
        return;
    }
    if (frame.headers.cat == NGHTTP2_HCAT_REQUEST) {
        stream->has_request_ended = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
        stream->has_body = !stream->has_request_ended;
        stream->received_head = stream->head.held();
        weigh(*stream);
        begun_.push_back(stream);
    } else if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        stream->on_request_end();
    }
}

void H2Connection::on_trailers_sent(H2Stream& stream)
{
    fields_.clear();
    add_lines(stream.trailers);
    if (nghttp2_submit_trailer(frames(), stream.id, fields_.data(), fields_.size()) != 0) {
        reset(stream, NGHTTP2_INTERNAL_ERROR);
    }
}

H2Stream* H2Connection::stream_of(std::int32_t id) const noexcept
{
    return static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(frames(), id));
}

} // namespace ladle::worker
