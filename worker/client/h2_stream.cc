// SPDX-License-Identifier: Apache-2.0
#include "worker/client/h2_stream.h"

#include "worker/client/h2_connection.h"
#include "worker/client/session.h"
#include "worker/request/admit.h"
#include "worker/request/exchange.h"

#include <unistd.h>

#include <algorithm>

namespace ladle::worker {

namespace {

constexpr std::size_t kCopyMost = 4 << 10;    // less memory than this is copied, so that all of a turn's frames go in one write
constexpr std::size_t kFileRead = 64 << 10;   // of a file, read at once
constexpr std::uint64_t kWideAfter = 32 << 10; // of a body taken: its client may send more at once

Answer answer_to(H2Head::Fault fault) noexcept
{
    switch (fault) {
    case H2Head::Fault::two_hosts: return {400, Reason::bad_host};
    case H2Head::Fault::too_large: return {431, Reason::head_too_large};
    default: return {400, Reason::bad_request};
    }
}

} // namespace

H2Stream::H2Stream(H2Connection& connection, std::int32_t number, const ClientStream& peer_of, std::size_t head_bytes)
    : ClientStream(connection.parts().loop, connection.scratch()), id(number), head(head_bytes), connection_(connection)
{
    peer_text = peer_of.peer_text;
    peer = peer_of.peer;
    destination = peer_of.destination;
    transport = peer_of.transport;
    encryption = peer_of.encryption;
    if (peer_of.wake.news().is_patient()) {
        wake.news().set_order(loop::Order::patient);
    }
    came_early = peer_of.came_early;
}

void H2Stream::start()
{
    main_ = run();
    main_.start();
}

/// The received head as HTTP/1 would have sent it.
std::optional<Answer> H2Stream::take_head(Request& request)
{
    const config::RequestLimits& limits = request.live->config->request_limits;
    const H2Head::Fault fault = head.fault();
    if (fault != H2Head::Fault::none) {
        return answer_to(fault);
    }
    request.head_block = head.write(has_body ? H2Head::Rest::body : H2Head::Rest::nothing,
                                    encryption != nullptr ? H2Head::Channel::secured : H2Head::Channel::plain);
    head.forget();
    const std::string_view text(request.head_block->data, request.head_block->used);
    // What was added to say it in HTTP/1 must not count against the client.
    const http::HeadLimits head_limits{std::max<std::size_t>(limits.head_bytes, text.size()), limits.uri_bytes};
    if (request.head.parse(text, head_limits) != http::Progress::complete) {
        return request.head.error == http::HeadError::none ? Answer{400, Reason::bad_request} : answer_for(request.head.error);
    }
    request.body_has_begun = has_request_ended || !incoming.empty();
    request.times.head = loop::clock_now();
    return std::nullopt;
}

loop::Task<void> H2Stream::run()
{
    Session& session = connection_.session();
    Request request(connection_.parts(), *this, session.newest_config());
    request.listen = session.listen();
    const std::optional<Answer> refused = take_head(request);
    if (refused && refused->status == 400) {
        connection_.charge(H2Budget::Cost::malformed);
    }
    if (refused) {
        co_await run_refused(request, *refused);
    } else {
        co_await run_exchange(request);
    }
    session.set_idle_time(request.timeouts().idle);
    alarm.clear();
    connection_.on_done(*this);
}

void H2Stream::finish_head(HeadText& text, const HeadEnd& end)
{
    if (!is_closed) {
        connection_.submit_head(*this, text.written(), end);
    }
}

void H2Stream::finish_body(std::string lines)
{
    if (!is_ended) {
        trailers = std::move(lines);
        is_ended = true;
    }
}

bool H2Stream::flush()
{
    if (is_gone || is_closed) {
        out.clear();
        connection_.weigh(*this);
        return !is_gone;
    }
    is_pushing = true;
    connection_.push(*this);
    is_pushing = false;
    connection_.weigh(*this);
    return !is_gone;
}

std::size_t H2Stream::send_memory(const iovec* vectors, int count)
{
    std::size_t size = 0;
    for (int at = 0; at < count; ++at) {
        size += vectors[at].iov_len;
    }
    if (out.bytes() + size <= kCopyMost) {
        for (int at = 0; at < count; ++at) {
            out.append_copy({static_cast<const char*>(vectors[at].iov_base), vectors[at].iov_len});
        }
        return size; // with what comes behind it in this step
    }
    if (!out.empty()) {
        flush();
    }
    if (!out.empty() || !ready().may_send) {
        return 0;
    }
    borrowed = vectors;
    borrowed_at = 0;
    borrowed_bytes = size;
    is_pushing = true;
    const std::size_t taken = connection_.push_borrowed(*this);
    is_pushing = false;
    borrowed = nullptr;
    borrowed_bytes = 0;
    wants_room_ = taken < size;
    return taken;
}

std::size_t H2Stream::send_file(int file, std::uint64_t offset, std::size_t size)
{
    if (!out.empty()) {
        flush();
    }
    if (!out.empty() || !ready().may_send) {
        return 0;
    }
    std::size_t taken = 0;
    while (taken < std::min(size, kFileRead)) {
        const auto [at, room] = out.room(kBlockBytes / 2);
        const ssize_t n = ::pread(file, at, std::min(room, size - taken), static_cast<off_t>(offset + taken));
        if (n <= 0) {
            break;
        }
        out.filled(static_cast<std::size_t>(n));
        taken += static_cast<std::size_t>(n);
    }
    flush();
    return taken;
}

ClientStream::Readiness H2Stream::ready() const noexcept
{
    const bool may_send = !is_gone && connection_.may_send(*this);
    wants_room_ = wants_room_ || !may_send;
    return {may_send, !incoming.empty() || has_request_ended || is_gone};
}

BodyReader::Pull H2Stream::pull_body(Chain& into, std::size_t most)
{
    if (body.is_complete()) {
        return BodyReader::Pull::complete;
    }
    if (is_gone || (is_closed && !has_request_ended)) {
        return BodyReader::Pull::cut;
    }
    const std::size_t taken = incoming.move_to(into, most);
    if (taken > 0) {
        taken_ += taken;
        connection_.took(*this, taken);
        if (taken_ > kWideAfter && !has_wide_window_ && !has_request_ended) {
            has_wide_window_ = true;
            connection_.widen_window(*this);
        }
    }
    if (incoming.empty()) {
        incoming.clear(); // a stream that waits holds no block
        if (has_request_ended) {
            return body.end(request_trailers) ? BodyReader::Pull::progress : BodyReader::Pull::refused;
        }
    }
    return taken > 0 ? BodyReader::Pull::progress : BodyReader::Pull::blocked;
}

void H2Stream::on_request_end() noexcept
{
    has_request_ended = true;
    wake.kick_later();
}

void H2Stream::on_closed()
{
    is_closed = true;
    if (is_started() && !is_done && !is_end_sent) {
        is_gone = true;
        out.clear();
        wake.kick_later();
    }
}

} // namespace ladle::worker
