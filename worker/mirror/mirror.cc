// SPDX-License-Identifier: Apache-2.0
#include "worker/mirror/mirror.h"

#include "worker/mirror/copies.h"
#include "worker/upstream/ask_servers.h"
#include "worker/upstream/limit_samples.h"
#include "worker/upstream/second_request.h"

#include <memory>
#include <optional>

namespace ladle::worker {

namespace {

constexpr std::size_t kReadAtOnce = 64 << 10;
constexpr std::string_view kMark = "X-Mirrored: 1\r\n";

class RequestCopy final : public Errand {
public:
    RequestCopy(const Request& cause, std::uint32_t upstream, std::uint64_t body_bytes);
    bool is_awaited() const noexcept override { return false; }

private:
    enum class Answered : std::uint8_t { no, in_part, whole };

    loop::Task<void> run() override;
    loop::Task<Answered> drop_answer();
    bool send_rest();
    void count(const std::optional<Answer>& failed, Answered answered);
    static void on_limit(void* self);

    Copies& copies_;
    std::optional<Copies::Place> place_;
    SecondRequest second_;
    ClientConnection& nobody_;
    Request& request_;
    Turn& turn_;
    loop::Deadline limit_;
};

RequestCopy::RequestCopy(const Request& cause, std::uint32_t upstream, std::uint64_t body_bytes)
    : copies_(cause.parts.copies), second_(cause, RequestKind::copy, upstream), nobody_(second_.nobody), request_(second_.request),
      turn_(second_.turn), limit_(cause.parts.loop, &RequestCopy::on_limit, this)
{
    place_.emplace(copies_, body_bytes);
    nobody_.wake.news().set_order(loop::Order::patient); // clients come first
    const bool says_early = cause.is_trusted_peer && cause.head.fields.has(http::FieldName::early_data);
    if (cause.client.is_early() && !says_early) {
        request_.added_fields += "Early-Data: 1\r\n"; // RFC 8470 §5.1
    }
    request_.added_fields += kMark;
}

void RequestCopy::on_limit(void* self)
{
    auto& copy = *static_cast<RequestCopy*>(self);
    if (copy.turn_.stream && copy.request_.times.response == 0) {
        copy.turn_.stream->on_timeout(); // in HTTP/2 the connection is asked whether it still lives
    }
    copy.nobody_.is_gone = true; // every step that waits ends when its client has left
    copy.nobody_.wake.kick_later();
}

/// Of a body that the server answered before it had all of it: sends more of that. Whether something was sent.
bool RequestCopy::send_rest()
{
    if (!turn_.upload) {
        return false;
    }
    const bool has_moved = turn_.upload->step(*turn_.stream);
    if (turn_.upload->is_done(*turn_.stream) || turn_.upload->has_failed()) {
        turn_.upload.reset();
    }
    return has_moved;
}

/// Reads what is left of the answer, so that its connection can be kept, and forgets it. One piece a turn: clients come first.
loop::Task<RequestCopy::Answered> RequestCopy::drop_answer()
{
    const std::uint64_t most = request_.live->config->mirror.answer_bytes;
    std::uint64_t dropped = 0;
    nobody_.alarm.set(request_.timeouts().stall);
    while (!turn_.body.is_complete()) {
        bool has_moved = send_rest();
        if (turn_.may_pull()) {
            Chain part;
            const std::uint64_t before = turn_.body.received();
            const BodyReader::Pull pull = turn_.pull(part, kReadAtOnce);
            request_.parts.row.add(shm::Metric::bytes_from_servers, turn_.body.received() - before);
            if (pull != BodyReader::Pull::blocked && pull != BodyReader::Pull::progress) {
                co_return Answered::no;
            }
            has_moved = has_moved || pull == BodyReader::Pull::progress;
            dropped += part.bytes();
        }
        if (dropped > most) {
            co_return Answered::in_part;
        }
        if (turn_.body.is_complete()) {
            break;
        }
        if (has_moved) {
            nobody_.alarm.set(request_.timeouts().stall);
            nobody_.wake.kick_later();
        }
        co_await nobody_.wake.wait();
        if (nobody_.alarm.rang()) {
            co_return Answered::no;
        }
        if (nobody_.has_left()) {
            co_return Answered::in_part; // its time is over: an endless answer is one
        }
    }
    co_return Answered::whole;
}

void RequestCopy::count(const std::optional<Answer>& failed, Answered answered)
{
    shm::ProcessRow& row = request_.parts.row;
    const bool is_skipped = failed && (failed->reason == Reason::queue_full || failed->reason == Reason::no_server ||
                                       failed->reason == Reason::breaker_open);
    if (is_skipped) {
        row.add(shm::Metric::mirror_skipped_no_server);
    } else {
        row.add(answered == Answered::no ? shm::Metric::mirror_failed : shm::Metric::mirror_answered);
    }
    // Till limit_. The server is to blame where it would be with a client: it may be one's server elsewhere.
    const bool hangs = failed && failed->reason == Reason::client_left && request_.times.connected != 0 &&
                       request_.live->config->mirror.timeout >= request_.timeouts().response;
    if (hangs) {
        report_failure(request_, turn_, shm::ServerFailure::timeout);
    } else if (failed && failed->reason == Reason::client_left) {
        note_abandoned(turn_, loop::clock_now());
    }
}

loop::Task<void> RequestCopy::run()
{
    limit_.set(request_.parts.loop.now() + loop::to_nanos(request_.live->config->mirror.timeout));
    nobody_.wake.kick_later();
    co_await nobody_.wake.wait();
    std::optional<Answer> failed = co_await ask_servers(request_, turn_);
    Answered answered = Answered::no;
    if (!failed) {
        answered = co_await drop_answer();
    }
    if (answered == Answered::whole) {
        turn_.release();
    }
    turn_.drop();
    nobody_.alarm.clear();
    limit_.clear();
    place_.reset(); // before it counts as ended
    count(failed, answered);
    copies_.retire(*this);
}

} // namespace

void mirror(Request& request)
{
    const std::optional<config::Mirror>& mirror = request.route->mirror;
    Copies& copies = request.parts.copies;
    // A copy is not copied again, whoever sends it: a mirror that leads back to us, or two of us that mirror each other, would go
    // on for ever.
    const bool is_copy = request.head.fields.value_of(http::FieldName::x_mirrored) == "1";
    if (!mirror || is_copy || request.wants_upgrade || !copies.draw(mirror->share)) {
        return;
    }
    if (request.body && !(request.client.body.is_complete() && request.body->is_whole_in_memory())) {
        request.parts.row.add(shm::Metric::mirror_skipped_body);
        return;
    }
    const std::uint64_t body_bytes = request.body ? request.body->size() : 0;
    if (!copies.has_room(request.live->config->mirror, body_bytes)) {
        request.parts.row.add(shm::Metric::mirror_skipped_busy);
        return;
    }
    copies.start(std::make_unique<RequestCopy>(request, mirror->upstream, body_bytes));
}

} // namespace ladle::worker
