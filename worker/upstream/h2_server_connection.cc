// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/h2_server_connection.h"

#include "common/os/log.h"
#include "worker/net/h2_fields.h"
#include "worker/upstream/h2_pool.h"

#include <algorithm>
#include <utility>

namespace ladle::worker {

namespace {

constexpr unsigned kServerReadsPerTurn = 8; // then the other connections have a turn
constexpr unsigned kServerWritesPerTurn = 16;
constexpr std::int32_t kServerConnectionWindow = 4 << 20; // bytes on their way; they count as taken when they arrive
constexpr std::uint32_t kStreamWindow = 64 << 10;
constexpr std::int32_t kWideServerWindow = 256 << 10; // of a stream whose body is being taken
constexpr std::chrono::milliseconds kGreetingTime{10'000};
constexpr std::chrono::milliseconds kGoodbyeTime{2'000};
constexpr std::chrono::milliseconds kQuietServer{10'000};      // then a PING asks whether the server is still there
constexpr std::chrono::milliseconds kPingAnswer{10'000};
constexpr std::chrono::milliseconds kPingPause{300'000}; // between PINGs without a response's bytes: gRPC servers mind more
constexpr std::uint32_t kGlitches = 200; // odd control frames at once
constexpr std::uint32_t kGlitchesPerSecond = 20;

std::chrono::milliseconds until(loop::Nanos then, loop::Nanos now) noexcept
{
    return std::chrono::milliseconds((then > now ? then - now : 0) / 1'000'000 + 1);
}

} // namespace

H2ServerConnection::H2ServerConnection(H2Pool& pool, loop::Loop& loop, shm::ProcessRow& row,
                                       std::unique_ptr<ServerConnection> transport, const H2Terms& terms)
    : pool_(pool), loop_(loop), row_(row), transport_(std::move(transport)), upstream_text_(terms.upstream),
      server_text_(terms.server), head_bytes_(terms.head_bytes), keepalive_timeout_(terms.keepalive_timeout),
      keepalive_idle_(terms.keepalive_idle), frames_(make_session(*this)), wake_(loop), alarm_(wake_),
      budget_(kGlitches, kGlitchesPerSecond), is_encrypted_(terms.is_encrypted)
{
    row_.add(shm::Metric::server_h2_connections);
    transport_->set_news(&wake_.news());
}

H2ServerConnection::~H2ServerConnection()
{
    while (streams_.is_linked()) {
        static_cast<H2ServerStream*>(streams_.next)->detach();
    }
    row_.subtract(shm::Metric::server_connections_idle, is_counted_idle_ ? 1 : 0);
    nghttp2_session_del(frames_);
}

void H2ServerConnection::start(H2Greeting& greeting)
{
    greeting_ = &greeting;
    main_ = run();
    main_.start();
}

void H2ServerConnection::begin()
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(head_bytes_)},
    };
    nghttp2_submit_settings(frames_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
    nghttp2_session_set_local_window_size(frames_, NGHTTP2_FLAG_NONE, 0, kServerConnectionWindow);
    last_heard_ = loop_.now();
}

loop::Task<void> H2ServerConnection::run()
{
    begin();
    for (;;) {
        receive();
        if (is_leaving_ && open_ == 0) {
            say_goodbye();
        }
        write();
        if (is_over()) {
            break;
        }
        set_alarm();
        co_await wake_.wait();
        if (alarm_.rang()) {
            on_alarm();
        }
    }
    end();
}

bool H2ServerConnection::is_over() const noexcept
{
    return is_cut_ || (out_.empty() && !nghttp2_session_want_read(frames_) && !nghttp2_session_want_write(frames_));
}

void H2ServerConnection::end()
{
    alarm_.clear();
    is_leaving_ = true;
    while (streams_.is_linked()) {
        static_cast<H2ServerStream*>(streams_.next)->detach();
    }
    if (!failure_.empty()) {
        row_.add(shm::Metric::server_h2_cut);
    }
    if (!failure_.empty() && is_ready_) { // before, whoever connects says so
        os::log(os::Level::warning, "an HTTP/2 connection to a server ended badly",
                {{"upstream", upstream_text_}, {"server", server_text_}, {"reason", failure_}});
    }
    if (greeting_ != nullptr) {
        greeting_->on_failure(failure_.empty() ? std::string_view("the server closed the connection instead of speaking HTTP/2")
                                               : std::string_view(failure_));
        greeting_ = nullptr;
    }
    pool_.retire(*this);
}

void H2ServerConnection::fail(std::string_view why)
{
    if (failure_.empty()) {
        failure_ = why;
    }
    is_cut_ = true;
}

void H2ServerConnection::say_goodbye() noexcept
{
    if (!std::exchange(has_said_goodbye_, true)) {
        nghttp2_session_terminate_session(frames_, NGHTTP2_NO_ERROR);
    }
}

void H2ServerConnection::leave() noexcept
{
    is_leaving_ = true;
    wake_.kick_later();
}

void H2ServerConnection::catch_up()
{
    if (is_ready_ && transport_->socket.may_read()) {
        receive();
        wake_.kick_later();
    }
}

std::size_t H2ServerConnection::room() const noexcept
{
    if (!is_ready_ || is_leaving_ || is_cut_ || loop_.now() < rests_until_ ||
        nghttp2_session_check_request_allowed(frames_) == 0) {
        return 0;
    }
    const std::uint32_t allowed = nghttp2_session_get_remote_settings(frames_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    const std::size_t most = std::min(allowed, kMostStreams);
    return most > open_ ? most - open_ : 0;
}

std::unique_ptr<ServerStream> H2ServerConnection::open(const H2Terms& terms)
{
    keepalive_idle_ = terms.keepalive_idle;
    keepalive_timeout_ = terms.keepalive_timeout;
    auto stream = std::make_unique<H2ServerStream>(*this, scratch_, loop_, terms.head_bytes);
    stream->insert_before(streams_);
    ++open_;
    mark_idle();
    wake_.kick_later(); // its alarm is another one now
    return stream;
}

void H2ServerConnection::mark_idle() noexcept
{
    const bool is_idle_now = is_ready_ && open_ == 0;
    if (is_idle_now != std::exchange(is_counted_idle_, is_idle_now)) {
        is_idle_now ? row_.add(shm::Metric::server_connections_idle) : row_.subtract(shm::Metric::server_connections_idle);
    }
}

void H2ServerConnection::set_alarm() noexcept
{
    Waits now = open_ > 0 ? Waits::streams : Waits::idle;
    now = is_ready_ ? now : Waits::greeting;
    now = has_said_goodbye_ ? Waits::goodbye : now;
    if (std::exchange(waits_, now) == now) {
        return;
    }
    switch (now) {
    case Waits::greeting: return alarm_.set(kGreetingTime);
    case Waits::idle: return alarm_.set(keepalive_timeout_);
    case Waits::goodbye: return alarm_.set(kGoodbyeTime);
    default:
        last_heard_ = loop_.now(); // it had nothing to say before
        return alarm_.set(kQuietServer);
    }
}

void H2ServerConnection::on_alarm()
{
    alarm_.clear();
    switch (waits_) {
    case Waits::greeting: return fail("the server did not begin to speak HTTP/2 in time");
    case Waits::idle: return leave();
    case Waits::goodbye: is_cut_ = true; return;
    default: return look_after_silence();
    }
}

/// Streams wait, and nothing comes: is the server still there?
void H2ServerConnection::look_after_silence()
{
    const loop::Nanos now = loop_.now();
    const loop::Nanos quiet_at = last_heard_ + loop::to_nanos(kQuietServer);
    if (pinged_at_ != 0) {
        row_.add(shm::Metric::server_h2_glitches);
        return fail("the server does not answer, not even a PING");
    }
    const loop::Nanos due = std::max(quiet_at, next_ping_);
    if (now < due) {
        return alarm_.set(until(due, now));
    }
    nghttp2_submit_ping(frames_, NGHTTP2_FLAG_NONE, nullptr);
    pinged_at_ = now;
    next_ping_ = now + loop::to_nanos(kPingPause);
    alarm_.set(kPingAnswer);
}

void H2ServerConnection::charge(H2Budget::Cost cost) noexcept
{
    budget_.charge(cost, loop_.now());
    row_.add(shm::Metric::server_h2_glitches);
}

void H2ServerConnection::receive()
{
    Socket& socket = transport_->socket;
    Input& input = transport_->input;
    for (unsigned reads = 0; !is_cut_ && socket.may_read(); ++reads) {
        if (reads == kServerReadsPerTurn) {
            wake_.kick_later();
            break;
        }
        const Io io = input.fill(socket, kBlockBytes);
        if (io.state == IoState::would_block) {
            break;
        }
        if (io.state != IoState::done) {
            is_cut_ = true;
            break;
        }
        last_heard_ = loop_.now();
        ++reads_;
        pinged_at_ = 0;
        take_in();
    }
    input.release_if_empty();
    if (budget_.is_spent() && !is_cut_) {
        nghttp2_session_terminate_session(frames_, NGHTTP2_ENHANCE_YOUR_CALM);
        write();
        fail("too many odd frames");
    }
}

void H2ServerConnection::take_in()
{
    Input& input = transport_->input;
    const std::string_view bytes = input.unread();
    if (!is_ready_ && bytes.starts_with("HTTP/")) {
        return fail("the server does not speak HTTP/2: it answered in HTTP/1");
    }
    body_bytes_ = 0;
    const ssize_t n = nghttp2_session_mem_recv(frames_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    row_.add(shm::Metric::bytes_from_servers, bytes.size() - body_bytes_);
    input.consume(bytes.size());
    if (n < 0) {
        nghttp2_session_terminate_session(frames_, n == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
        write();
        fail(nghttp2_strerror(static_cast<int>(n)));
    }
}

/// Makes frames until enough is lined up.
void H2ServerConnection::frame()
{
    while (!is_cut_ && out_.bytes() < kOutMost) {
        is_paused_ = false;
        const std::uint8_t* bytes = nullptr;
        const ssize_t n = nghttp2_session_mem_send(frames_, &bytes);
        if (n < 0) {
            fail(nghttp2_strerror(static_cast<int>(n)));
        } else if (n > 0) {
            out_.append_copy({reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(n)});
        } else if (!is_paused_) {
            return;
        }
    }
}

void H2ServerConnection::write()
{
    Socket& socket = transport_->socket;
    for (unsigned writes = 0; writes < kServerWritesPerTurn && !is_cut_; ++writes) {
        frame();
        if (out_.empty() || !socket.may_write()) {
            break;
        }
        const Io io = socket.write(out_);
        row_.add(shm::Metric::bytes_to_servers, io.bytes);
        // What the server has said before it closed is still to be read: the end is seen there.
        if (io.state == IoState::failed) {
            out_.clear();
            is_cut_ = !socket.may_read();
            if (!is_cut_) {
                wake_.kick_later();
            }
            return;
        }
    }
    if (out_.empty()) {
        out_.clear(); // an idle connection holds no block
    } else if (!is_cut_ && socket.may_write()) {
        wake_.kick_later(); // the other connections have a turn
    }
}

void H2ServerConnection::add_field(std::string_view name, std::string_view value)
{
    const auto as_bytes = [](std::string_view text) { return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data())); };
    fields_.push_back({as_bytes(name), as_bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
}

void H2ServerConnection::add_lines(std::string_view lines)
{
    std::string_view name;
    std::string_view value;
    while (next_field_line(lines, name, value)) {
        const http::FieldName id = http::find_field_name(name);
        const bool is_for_http_1 = id == http::FieldName::host || id == http::FieldName::connection ||
                                   id == http::FieldName::transfer_encoding || id == http::FieldName::upgrade;
        if (id == http::FieldName::host && fields_.size() == 2) {
            add_field(":authority", value);
        } else if (!is_for_http_1) {
            add_field(name, value);
        }
    }
}

void H2ServerConnection::submit(H2ServerStream& stream, Coding coding)
{
    iovec head{};
    scratch_.vectors(&head, 1); // composed in one block
    std::string_view lines(static_cast<const char*>(head.iov_base), head.iov_len);
    const std::string_view first = lines.substr(0, lines.find("\r\n"));
    lines.remove_prefix(std::min(lines.size(), first.size() + 2));
    const std::size_t end_of_method = first.find(' ');
    const std::size_t end_of_target = first.rfind(' ');
    const std::string_view method = first.substr(0, end_of_method);
    fields_.clear();
    add_field(":method", method);
    add_field(":path", first.substr(end_of_method + 1, end_of_target - end_of_method - 1));
    add_lines(lines);
    add_field(":scheme", is_encrypted_ ? "https" : "http");
    std::rotate(fields_.begin() + 2, fields_.end() - 1, fields_.end()); // pseudo-fields come first
    nghttp2_data_provider body{};
    body.read_callback = &H2ServerConnection::on_read;
    const std::int32_t id = nghttp2_submit_request(frames_, nullptr, fields_.data(), fields_.size(),
                                                   coding == Coding::none ? nullptr : &body, &stream);
    stream.is_for_head = method == "HEAD";
    scratch_.clear(); // and with it what `method` points to
    has_carried_ = true;
    if (id < 0) { // its numbers are used up
        leave();
        --open_;
        stream.on_closed(NGHTTP2_REFUSED_STREAM);
        return;
    }
    stream.id = id;
    stream.reads_before = reads_;
    wake_.kick_later();
}

void H2ServerConnection::push(H2ServerStream& stream)
{
    if (stream.is_deferred && (!stream.out.empty() || stream.is_whole())) {
        stream.is_deferred = false;
        nghttp2_session_resume_data(frames_, stream.id);
    }
    frame();
    if (!out_.empty()) {
        wake_.kick_later();
    }
}

void H2ServerConnection::took(H2ServerStream& stream, std::size_t bytes) noexcept
{
    nghttp2_session_consume_stream(frames_, stream.id, bytes);
    wake_.kick_later();
}

void H2ServerConnection::widen_window(H2ServerStream& stream) noexcept
{
    nghttp2_session_set_local_window_size(frames_, NGHTTP2_FLAG_NONE, stream.id, kWideServerWindow);
}

void H2ServerConnection::on_timeout(const H2ServerStream& stream) noexcept
{
    if (stream.id != 0 && stream.reads_before == reads_) {
        leave();
    }
}

void H2ServerConnection::forget(H2ServerStream& stream) noexcept
{
    stream.unlink();
    if (stream.is_closed()) {
        return;
    }
    if (stream.id == 0) { // never sent
        --open_;
        mark_idle();
        pool_.stir(1);
    } else {
        nghttp2_session_set_stream_user_data(frames_, stream.id, nullptr);
        nghttp2_submit_rst_stream(frames_, NGHTTP2_FLAG_NONE, stream.id,
                                  stream.has_response_ended() ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    }
    wake_.kick_later();
}

/// The server's first word, or a later change of its mind.
void H2ServerConnection::on_settings()
{
    if (!std::exchange(is_ready_, true)) {
        mark_idle();
        if (greeting_ != nullptr) {
            std::exchange(greeting_, nullptr)->on_ready();
        }
    }
    const std::uint32_t streams = nghttp2_session_get_remote_settings(frames_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (streams == 0 && open_ == 0) {
        be_fruitless();
    }
    pool_.on_settings(streams);
    pool_.stir(room());
}

/// REFUSED_STREAM: too many are open, or the server wants none.
void H2ServerConnection::on_refusal() noexcept
{
    rests_until_ = loop_.now() + H2Pool::kRest;
    if (open_ == 1) {
        be_fruitless();
    }
}

void H2ServerConnection::be_fruitless() noexcept
{
    if (!has_answered_) {
        leave();
        pool_.on_fruitless();
    }
}

/// RFC 9113 §6.8: streams above the last one that it names are closed by nghttp2, as refused; the others go on.
void H2ServerConnection::on_goaway(std::uint32_t code)
{
    is_leaving_ = true;
    if (code != NGHTTP2_NO_ERROR) {
        os::log(os::Level::warning, "a server ends an HTTP/2 connection",
                {{"upstream", upstream_text_}, {"server", server_text_}, {"reason", nghttp2_http2_strerror(code)}});
    }
}

void H2ServerConnection::on_head(const nghttp2_frame& frame)
{
    H2ServerStream* stream = stream_of(frame.hd.stream_id);
    if (stream == nullptr) {
        return;
    }
    has_answered_ = true;
    pool_.on_answer();
    const bool is_last = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (is_last) {
        stream->on_response_end();
    }
    if (!stream->end_head()) {
        charge(H2Budget::Cost::malformed);
        nghttp2_submit_rst_stream(frames_, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_PROTOCOL_ERROR);
    }
}

void H2ServerConnection::on_trailers_sent(H2ServerStream& stream)
{
    fields_.clear();
    add_lines(stream.request_trailers);
    if (nghttp2_submit_trailer(frames_, stream.id, fields_.data(), fields_.size()) != 0) {
        nghttp2_submit_rst_stream(frames_, NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_INTERNAL_ERROR);
    }
}

H2ServerStream* H2ServerConnection::stream_of(std::int32_t id) const noexcept
{
    return static_cast<H2ServerStream*>(nghttp2_session_get_stream_user_data(frames_, id));
}

} // namespace ladle::worker
