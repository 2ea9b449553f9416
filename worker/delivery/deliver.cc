// SPDX-License-Identifier: Apache-2.0
#include "worker/delivery/deliver.h"

#include "common/os/log.h"
#include "worker/request/chunked_body.h"
#include "worker/response/response_writer.h"
#include "worker/upstream/load_report.h"
#include "worker/upstream/orca.h"

#include <algorithm>
#include <optional>

namespace ladle::worker {

namespace {

constexpr std::size_t kFirstRead = 16 << 10;  // most answers are small
constexpr std::size_t kLaterReads = 112 << 10;
constexpr unsigned kReadsPerTurn = 8; // then the other connections have a turn

class Delivery {
public:
    Delivery(Request& request, Turn& turn)
        : request_(request), turn_(turn),
          spool_(request.parts.spool, request.client_bucket, request.client.wake, Keep::until_taken),
          streams_(request.route->response_buffering == config::ResponseBuffering::stream)
    {
    }

    void begin();
    /// Begins behind a part of the body that has been sent.
    void go_on(Chain&& rest, BodyForm form);
    /// Moves what is at hand one step on; false = nothing moved.
    bool step();
    bool is_done() const noexcept { return has_ended_ || request_.client.is_gone; }
    /// What an idle wait is for, as a time limit.
    std::chrono::milliseconds patience() const noexcept;
    void give_up_waiting() noexcept;
    void settle() noexcept
    {
        spool_.settle(request_.client.out.bytes());
        if (spool_.is_drained() && request_.client.out.empty()) {
            incoming_.clear(); // an idle stream holds no block
        }
    }

private:
    bool send_request();
    bool receive();
    bool may_receive() const noexcept;
    std::size_t room() noexcept;
    void take_in(Chain&& part);
    void line_up();
    void put_out(Chain&& part);
    std::string lines_of(const http::ChunkedDecoder& trailers) const;
    void finish_server() noexcept;
    void stop_receiving(BodyReader::Pull pull);

    Request& request_;
    Turn& turn_;
    Spool spool_;
    Chain incoming_;
    std::optional<http::ChunkedDecoder> trailers_; ///< of the response, once it is complete
    BodyForm form_ = BodyForm::none;
    bool streams_;
    bool is_events_ = false;  ///< an event stream, or a gRPC call: silence is no fault
    bool has_received_all_ = false;
    bool is_cut_ = false;     ///< the server's part ended before its end
    bool is_ended_ = false;   ///< all, with its end, is lined up
    bool has_ended_ = false;  ///< and handed to the kernel
    std::size_t read_size_ = kFirstRead;
};

void Delivery::begin()
{
    const http::Fields& fields = request_.response.fields;
    const std::string_view type = fields.value_of(http::FieldName::content_type);
    is_events_ = request_.is_grpc || (type.size() >= 17 && http::equals_ignoring_case(type.substr(0, 17), "text/event-stream"));
    form_ = turn_.body.is_complete() && turn_.body.kind() == http::BodyKind::none
                ? BodyForm::none
                : choose_body_form(request_, {turn_.body.kind(), turn_.body.left()});
    if (!turn_.request_complete && request_.body && !turn_.upload) {
        request_.after = After::close; // it answered early: the rest of the request body is not read
    }
    if (request_.body) {
        request_.body->forget_beginning(); // it cannot be sent again from here on
    }
    write_response_head(request_, form_, turn_.body.left());
    request_.response.fields.clear(); // nobody reads them any more: their block need not last as long as the body
    request_.response_block.reset();
    if (turn_.body.is_complete()) {
        finish_server();
    }
}

void Delivery::go_on(Chain&& rest, BodyForm form)
{
    form_ = form;
    read_size_ = kLaterReads;
    if (!rest.empty()) {
        take_in(std::move(rest));
    }
    if (turn_.body.is_complete()) {
        finish_server();
    }
}

void Delivery::finish_server() noexcept
{
    has_received_all_ = true;
    turn_.release();
}

void Delivery::stop_receiving(BodyReader::Pull pull)
{
    is_cut_ = true;
    has_received_all_ = true;
    request_.reason = pull == BodyReader::Pull::refused ? Reason::server_bad_chunk : Reason::server_cut;
    request_.parts.row.add(shm::Metric::server_bad_responses);
    os::log(os::Level::warning, "a server's response was cut",
            {{"upstream", request_.upstream_name},
             {"server", request_.server_text},
             {"reason", name_of(request_.reason)},
             {"id", request_.id}});
    turn_.drop();
}

bool Delivery::may_receive() const noexcept
{
    return !has_received_all_ && turn_.may_pull();
}

/// Bytes that may be taken in now; where all is well, enough for the whole turn, as asking looks at every process's row.
std::size_t Delivery::room() noexcept
{
    const std::size_t outside = request_.client.out.bytes();
    if (streams_) {
        return outside < request_.client.out_most ? read_size_ : 0;
    }
    return spool_.room(outside, read_size_ == kFirstRead ? kFirstRead : kReadsPerTurn * kLaterReads);
}

/// The straight way while the client keeps up, else the spool.
void Delivery::take_in(Chain&& part)
{
    if (spool_.is_drained() && request_.client.out.bytes() < request_.client.out_most) {
        put_out(std::move(part));
    } else {
        spool_.append(std::move(part));
    }
}

bool Delivery::receive()
{
    bool moved = false;
    std::size_t allowed = 0;
    for (unsigned reads = 0; reads < kReadsPerTurn && may_receive(); ++reads) {
        if (allowed == 0) {
            allowed = room();
            if (allowed == 0) {
                break;
            }
        }
        const std::uint64_t before = turn_.body.received();
        const std::size_t most = std::min(read_size_, allowed);
        const BodyReader::Pull pull = turn_.pull(incoming_, most);
        const std::uint64_t received = turn_.body.received() - before;
        request_.parts.row.add(shm::Metric::bytes_from_servers, received);
        allowed -= std::min(allowed, incoming_.bytes());
        if (pull == BodyReader::Pull::blocked) {
            break;
        }
        if (!incoming_.empty()) {
            take_in(std::move(incoming_));
        }
        if (pull != BodyReader::Pull::progress) {
            stop_receiving(pull);
            return true;
        }
        moved = true;
        read_size_ = kLaterReads;
        if (turn_.body.is_complete()) {
            if (turn_.body.may_have_trailers()) {
                trailers_ = turn_.body.chunks();
                http::Fields fields(1000);
                if (!trailers_->parse_trailers(fields)) {
                    stop_receiving(BodyReader::Pull::refused);
                    return true;
                }
                take_load_report(request_, turn_, fields);
            }
            finish_server();
        } else if (request_.client.out.bytes() >= request_.client.out_most) {
            request_.client.flush(); // let the client's socket take part before the spool must
        }
    }
    return moved;
}

void Delivery::put_out(Chain&& part)
{
    request_.body_sent += part.bytes();
    request_.client.send_body(std::move(part));
}

std::string Delivery::lines_of(const http::ChunkedDecoder& trailers) const
{
    const config::FieldEdits* edits = find_response_edits(request_);
    return turn_.upstream->settings().load_report ? trailer_lines(trailers, edits, {kLoadField, kBinaryLoadField})
                                                  : trailer_lines(trailers, edits);
}

void Delivery::line_up()
{
    while (!spool_.is_drained() && request_.client.out.bytes() < request_.client.out_most) {
        Chain part;
        if (spool_.take(part, request_.client.out_most) == 0) {
            return;
        }
        put_out(std::move(part));
    }
    if (has_received_all_ && spool_.is_drained() && !is_ended_) {
        is_ended_ = true;
        if (!is_cut_) {
            request_.client.finish_body(trailers_ ? lines_of(*trailers_) : std::string());
        }
    }
}

/// The rest of the request, which the server takes while it answers.
bool Delivery::send_request()
{
    Upload& upload = *turn_.upload;
    const bool moved = upload.step(*turn_.stream);
    if (upload.client_failure()) {
        request_.reason = upload.client_failure()->reason;
        request_.after = After::abort;
        is_cut_ = has_received_all_ = true;
        turn_.drop();
    } else if (upload.is_done(*turn_.stream) || upload.has_failed()) { // what a failure means is said by what is received
        turn_.request_complete = !upload.has_failed();
        turn_.upload.reset();
    }
    return moved;
}

bool Delivery::step()
{
    bool moved = turn_.upload && send_request();
    moved = receive() || moved;
    ClientStream& client = request_.client;
    for (;;) {
        line_up();
        const std::size_t before = client.out.bytes();
        client.flush();
        moved = moved || client.out.bytes() != before;
        if (!client.out.empty() || spool_.is_drained() || client.out.bytes() == before) {
            break;
        }
    }
    if (is_events_ && client.has_finished) {
        client.is_gone = true; // nobody listens to an event stream any more
    }
    if (client.is_gone) {
        request_.reason = Reason::client_left;
        request_.after = After::abort;
    } else if (is_ended_ && client.is_flushed()) {
        has_ended_ = true;
        if (is_cut_) {
            // Without a length or chunks the end of the connection would look like the end of the body: reset it instead.
            request_.after = form_ == BodyForm::to_close ? After::abort : After::close;
        }
    }
    return moved;
}

std::chrono::milliseconds Delivery::patience() const noexcept
{
    const bool waits_for_client = !request_.client.is_flushed();
    return is_events_ && !waits_for_client ? request_.timeouts().tunnel : request_.timeouts().stall;
}

void Delivery::give_up_waiting() noexcept
{
    const bool waits_for_client = !request_.client.is_flushed();
    request_.reason = waits_for_client ? Reason::client_stalled : Reason::server_stalled;
    request_.after = waits_for_client || form_ == BodyForm::to_close ? After::abort : After::close;
}

loop::Task<void> run_delivery(Request& request, Delivery& delivery)
{
    ClientStream& client = request.client;
    for (;;) {
        const bool moved = delivery.step();
        if (delivery.is_done()) {
            break;
        }
        if (moved) {
            client.alarm.set(delivery.patience());
            client.wake.kick_later();
        }
        delivery.settle();
        co_await client.wake.wait();
        if (client.alarm.rang()) {
            delivery.give_up_waiting();
            break;
        }
        client.has_left();
    }
    if (request.after != After::keep && request.reason != Reason::ok) {
        request.parts.row.add(shm::Metric::responses_cut);
    }
}

} // namespace

loop::Task<void> deliver(Request& request, Turn& turn)
{
    Delivery delivery(request, turn);
    delivery.begin();
    co_await run_delivery(request, delivery);
}

loop::Task<void> deliver_rest(Request& request, Turn& turn, Chain rest, BodyForm form)
{
    Delivery delivery(request, turn);
    delivery.go_on(std::move(rest), form);
    co_await run_delivery(request, delivery);
}

} // namespace ladle::worker
