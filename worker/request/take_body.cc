// SPDX-License-Identifier: Apache-2.0
#include "worker/request/take_body.h"

#include "worker/response/response_writer.h"

namespace ladle::worker {

namespace {

constexpr std::size_t kBodyReadMost = 64 << 10;
constexpr unsigned kBodyReadsPerTurn = 4; // then the other connections have a turn

Answer failure_of(BodyReader::Pull pull) noexcept
{
    return pull == BodyReader::Pull::refused ? Answer{400, Reason::bad_chunk} : Answer{499, Reason::client_left};
}

/// Keeps the trailers, or refuses the body because of them.
std::optional<Answer> finish_body(Request& request)
{
    if (!request.client.body.may_have_trailers()) {
        return std::nullopt;
    }
    request.trailers = request.client.body.chunks();
    http::Fields fields(request.live->config->request_limits.header_count);
    if (!request.trailers->parse_trailers(fields)) {
        return Answer{400, Reason::bad_chunk};
    }
    return std::nullopt;
}

} // namespace

BodyStep take_body_part(Request& request)
{
    BodyStep step;
    ClientStream& client = request.client;
    for (unsigned reads = 0; reads < kBodyReadsPerTurn && !client.body.is_complete(); ++reads) {
        if (!client.ready().may_pull) {
            break;
        }
        const std::size_t room = request.body->room(0, kBodyReadMost);
        if (room == 0) {
            break;
        }
        Chain& part = request.incoming;
        const std::uint64_t before = client.body.received();
        const BodyReader::Pull pull = client.pull_body(part, room);
        request.parts.row.add(shm::Metric::bytes_from_clients, client.body.received() - before);
        if (pull == BodyReader::Pull::blocked) {
            break;
        }
        if (pull != BodyReader::Pull::progress) {
            step.failed = failure_of(pull);
            return step;
        }
        step.moved = true;
        request.body->append(std::move(part));
        if (request.body->size() > request.route->body_bytes) {
            step.failed = Answer{413, Reason::body_too_large};
            return step;
        }
        if (client.body.is_complete()) {
            part.clear();
            step.failed = finish_body(request);
            request.times.body = loop::clock_now();
        }
    }
    return step;
}

loop::Task<std::optional<Answer>> take_body(Request& request)
{
    if (request.framing.kind == http::BodyKind::none) {
        co_return std::nullopt;
    }
    ClientStream& client = request.client;
    if (request.framing.kind == http::BodyKind::length && request.framing.length > request.route->body_bytes) {
        co_return Answer{413, Reason::body_too_large};
    }
    const bool is_whole = request.route->request_buffering == config::RequestBuffering::full && !request.is_grpc;
    client.body.begin(request.framing);
    request.body.emplace(request.parts.spool, request.client_bucket, client.wake, is_whole ? Keep::all : Keep::beginning);
    if (!is_whole) {
        co_return std::nullopt; // forward() passes it on as it comes
    }
    if (request.expects_continue && !request.body_has_begun) {
        write_continue(request);
        client.flush();
    }
    request.expects_continue = false;
    client.alarm.set(request.timeouts().stall);
    while (!client.body.is_complete()) {
        const BodyStep step = take_body_part(request);
        if (step.failed) {
            co_return step.failed;
        }
        request.body->settle(0);
        if (client.body.is_complete()) {
            break;
        }
        if (step.moved) {
            client.alarm.set(request.timeouts().stall);
        }
        const bool is_held_up = !request.body->has_room();
        if (is_held_up && !request.body->is_writing()) {
            request.body->keep_no_more();
            co_return std::nullopt;
        }
        if (step.moved && client.ready().may_pull) {
            client.wake.kick_later();
        }
        co_await client.wake.wait();
        if (client.alarm.rang() && is_held_up) { // it is the disk that stalls
            request.body->keep_no_more();
            co_return std::nullopt;
        }
        if (client.alarm.rang()) {
            co_return Answer{408, Reason::body_timeout};
        }
        if (is_held_up) {
            client.alarm.set(request.timeouts().stall); // its time begins now
        }
    }
    co_return std::nullopt;
}

} // namespace ladle::worker
