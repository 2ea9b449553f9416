// SPDX-License-Identifier: Apache-2.0
//
// What an H2Connection takes in: how much of it in a turn, what it costs the client's budget, which requests begin.
#include "worker/client/h2_connection.h"

#include "common/os/log.h"
#include "worker/client/session.h"

#include <algorithm>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kMostTake = 128 << 10; // bytes in a turn, of a client that was seen to behave; then others have a turn
constexpr unsigned kMostStarts = 16;         // of requests in a turn
constexpr unsigned kMostUntrusted = 8;       // requests in work, of who is not known to behave
constexpr unsigned kMostTiny = 2;            // the same, of who opens its windows byte by byte
constexpr std::uint32_t kTinyWindow = 1024;  // bytes of a response that a client is ready for: each would be held for long
constexpr std::chrono::milliseconds kRoomTime{500};  // requests elsewhere may have ended by then
constexpr std::chrono::milliseconds kTrustTime{100}; // then a request of theirs begins all the same

} // namespace

void H2Connection::charge(H2Budget::Cost cost) noexcept
{
    budget_.charge(cost, parts_.loop.now());
    parts_.row.add(shm::Metric::h2_glitches);
    was_odd_ = true;
    if (budget_.is_odd()) {
        take_most_ = kFirstTake;
        set_patient(true);
    }
}

/// Who is not known to behave is served when all others are: two hundred that flood us must not make a turn of the loop long.
void H2Connection::set_patient(bool is_patient) noexcept
{
    if (this->is_patient() == is_patient) {
        return;
    }
    // The connection sends what its streams made in this turn and the one before.
    client_.wake.news().set_order(is_patient ? loop::Order::patient : loop::Order::last);
    for (loop::Link* at = streams_.next; at != &streams_; at = at->next) {
        static_cast<H2Stream&>(*at).wake.news().set_order(is_patient ? loop::Order::patient : loop::Order::first);
    }
}

void H2Connection::enforce_budget()
{
    if (budget_.is_spent() && !is_cut_) {
        os::log(os::Level::debug, "an HTTP/2 connection is closed for abuse", {{"client", client_.peer_text}});
        go_away(NGHTTP2_ENHANCE_YOUR_CALM);
        write_some();
        is_cut_ = true;
    } else if (budget_.is_strained() && !is_strained_) {
        is_strained_ = true;
        parts_.row.add(shm::Metric::h2_strained);
    }
}

/// Takes in what the client sent, little of it at a time while it is new, and after it did something odd.
void H2Connection::receive()
{
    const std::size_t most = take_most_;
    std::size_t left = most;
    was_odd_ = false;
    while (left > 0 && may_take_in()) {
        if (client_.input.empty() && !read_more()) {
            break;
        }
        left -= take_in(left);
    }
    if (may_take_in() && (!client_.input.empty() || client_.socket.may_read())) {
        client_.wake.kick_later();
    }
    client_.input.release_if_empty();
    if (left < most && !was_odd_) {
        take_most_ = std::min(4 * most, kMostTake);
    }
    if (take_most_ == kMostTake || trust_alarm_.rang()) {
        take_most_ = kMostTake;
        trust_alarm_.clear();
        set_patient(false);
    }
}

/// No more when more requests than it may have wait to be started.
bool H2Connection::may_take_in() const noexcept
{
    return !is_cut_ && !client_.is_gone && !budget_.is_spent() && begun_.size() <= session_.http2_limits().streams;
}

/// Requests that came in early data may wait for its end.
void H2Connection::follow_handshake()
{
    if (!client_.came_early || client_.is_early()) {
        return;
    }
    client_.came_early = false;
    for (loop::Link* at = streams_.next; at != &streams_; at = at->next) {
        static_cast<H2Stream&>(*at).wake.kick_later();
    }
}

/// False: nothing more is there for now, or ever.
bool H2Connection::read_more()
{
    if (!client_.socket.may_read()) {
        return false;
    }
    const Io io = client_.input.fill(client_.socket, kBlockBytes);
    parts_.row.add(shm::Metric::bytes_from_clients, io.bytes);
    // A client that has finished sending can neither ask nor open its windows any more.
    is_cut_ = is_cut_ || io.state == IoState::end;
    client_.is_gone = client_.is_gone || io.state == IoState::failed;
    return io.state == IoState::done;
}

/// At most so many of the bytes that are there; how many it were.
std::size_t H2Connection::take_in(std::size_t most)
{
    const std::string_view bytes = client_.input.unread().substr(0, most);
    const ssize_t n = nghttp2_session_mem_recv(frames(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    client_.input.consume(bytes.size());
    some_want_room_ = true; // windows may have been opened
    if (n < 0) {
        os::log(os::Level::debug, "an HTTP/2 connection ends",
                {{"client", client_.peer_text}, {"reason", nghttp2_strerror(static_cast<int>(n))}});
        go_away(n == NGHTTP2_ERR_FLOODED || budget_.is_spent() ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
        write_some();
        is_cut_ = true;
    }
    return bytes.size();
}

void H2Connection::start_requests()
{
    const bool was_full = !may_take_in();
    std::size_t waiting = 0;
    unsigned starts = 0;
    waiting_bytes_ = 0;
    room_for_.reset();
    for (std::size_t at = 0; at < begun_.size(); ++at) {
        H2Stream* const stream = std::exchange(begun_[at], nullptr);
        if (starts < kMostStarts && start_or_refuse(*stream, waiting)) {
            ++starts;
        } else {
            begun_[waiting++] = stream;
        }
    }
    begun_.resize(waiting);
    if (waiting_bytes_ > 0) {
        room_alarm_.set(kRoomTime);
    } else {
        room_alarm_.clear();
    }
    if ((waiting > 0 && starts == kMostStarts) || (was_full && may_take_in())) {
        client_.wake.kick_later();
    }
    if (waiting > 0 && is_patient() && !trust_alarm_.is_set()) {
        trust_alarm_.set(kTrustTime);
    }
}

/// A client that takes its responses byte by byte, as none does that wants them.
bool H2Connection::has_tiny_windows() const noexcept
{
    return nghttp2_session_get_remote_settings(frames(), NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE) < kTinyWindow;
}

/// False: it has to wait. As `waiting` others do, until exchanges whose stream is closed already are over.
bool H2Connection::start_or_refuse(H2Stream& stream, std::size_t waiting)
{
    const std::size_t most = session_.http2_limits().streams;
    if (stream.is_closed) {
        stream.insert_before(ended_); // taken back at once: no work was begun
        return true;
    }
    if (in_work_ - closed_in_work_ + waiting >= most) {
        reset(stream, NGHTTP2_REFUSED_STREAM);
        return true;
    }
    const std::size_t may_have = has_tiny_windows() ? kMostTiny : is_patient() ? kMostUntrusted : most;
    const bool is_alone = in_work_ == 0;
    if (!is_alone && !room_for_) { // for the whole turn, as asking looks at every process's row
        room_for_ = share_.has_room(kMostStarts * H2Share::kBusy) ? kMostStarts : share_.has_room() ? 1 : 0;
    }
    if (!is_alone && *room_for_ == 0) {
        return !waits_for_room(stream);
    }
    if (in_work_ >= std::min(most, may_have)) {
        return false;
    }
    ++in_work_;
    has_started_ = true;
    if (!is_alone && --*room_for_ == 0) {
        room_for_.reset();
    }
    stream.start();
    weigh(stream);
    return true;
}

/// Whether it may wait, for a while and beside few others, until those in work hold less; else it is refused.
bool H2Connection::waits_for_room(H2Stream& stream)
{
    const loop::Nanos now = parts_.loop.now();
    parts_.row.add(shm::Metric::h2_waits, stream.waits_since == 0 ? 1 : 0);
    stream.waits_since = stream.waits_since == 0 ? now : stream.waits_since;
    const bool is_too_long = now - stream.waits_since >= loop::to_nanos(session_.http2_limits().wait);
    if (is_too_long || (waiting_bytes_ > 0 && waiting_bytes_ + stream.weight > H2Share::kWaitMost)) {
        reset(stream, NGHTTP2_REFUSED_STREAM);
        return false;
    }
    waiting_bytes_ += stream.weight;
    return true;
}

} // namespace ladle::worker
