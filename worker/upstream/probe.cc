// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/probe.h"

#include "common/config/service_name.h"
#include "common/http/grammar.h"
#include "worker/net/head_text.h"
#include "worker/upstream/agent_reply.h"
#include "worker/upstream/announce.h"
#include "worker/upstream/begin_connect.h"
#include "worker/upstream/h2_pool.h"
#include "worker/upstream/varint.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kHeadBytes = 32 << 10;
constexpr unsigned kMostProbeInterim = 16;
constexpr int kServing = 1; // of grpc.health.v1.HealthCheckResponse.ServingStatus

/// grpc.health.v1.HealthCheckRequest { service }, with gRPC's prefix.
std::string make_grpc_health(const std::string& service)
{
    std::string message;
    if (!service.empty()) {
        message += '\x0a';
        std::size_t size = service.size();
        for (; size > 0x7f; size >>= 7) {
            message += static_cast<char>((size & 0x7f) | 0x80);
        }
        message += static_cast<char>(size);
        message += service;
    }
    std::string out(1, '\0');
    for (const unsigned shift : {24u, 16u, 8u, 0u}) {
        out += static_cast<char>(message.size() >> shift & 0xff);
    }
    return out + message;
}

/// What an agent is told.
std::string fill_in(std::string text, const std::string& upstream, const std::string& server)
{
    for (const auto& [name, value] : {std::pair("{upstream}", &upstream), std::pair("{server}", &server)}) {
        const std::size_t length = std::strlen(name);
        for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + value->size())) {
            text.replace(at, length, *value);
        }
    }
    return text;
}

} // namespace

int parse_grpc_health(std::string_view message) noexcept
{
    if (message.size() < 5 || message[0] != '\0') {
        return -1;
    }
    std::size_t size = 0;
    for (const char c : message.substr(1, 4)) {
        size = size << 8 | static_cast<unsigned char>(c);
    }
    std::string_view rest = message.substr(5);
    if (rest.size() != size) {
        return -1;
    }
    int status = 0; // UNKNOWN, when the field is not there
    while (!rest.empty()) {
        std::uint64_t tag = 0;
        std::uint64_t value = 0;
        if (!take_varint(rest, tag) || (tag & 7) == 1 || (tag & 7) > 2 || !take_varint(rest, value)) {
            return -1;
        }
        if ((tag & 7) == 2) {
            if (value > rest.size()) {
                return -1;
            }
            rest.remove_prefix(value);
        } else if (tag >> 3 == 1) {
            status = value <= 3 ? static_cast<int>(value) : -1;
        }
    }
    return status;
}

Probe::Probe(loop::Loop& loop, shm::ProcessRow& row, TlsConnector& connector, const Subject& subject)
    : loop_(loop), connector_(connector), subject_(subject), check_(subject.check), wake_(loop), alarm_(wake_),
      server_(loop, row, 0, subject.server.text)
{
}

Probe::~Probe()
{
    main_ = {};
    stream_.reset(); // before the connection that it is on
}

void Probe::start()
{
    alarm_.set(check_.timeout);
    main_ = run();
    main_.start();
}

Probe::Ended Probe::finish(shm::CheckEnd end, std::string detail)
{
    is_over_ = true;
    end_ = end;
    detail_ = std::move(detail);
    return Ended::yes;
}

Probe::Ended Probe::finish_late(const char* doing)
{
    return finish(shm::CheckEnd::silent, std::string(doing) + " took more than " + std::to_string(check_.timeout.count()) + " ms");
}

loop::Task<Probe::Ended> Probe::shake_hands(Socket& socket)
{
    socket.encrypt(connector_.connect(loop_, socket, subject_.upstream, subject_.server));
    if (socket.encryption() == nullptr) {
        co_return finish(shm::CheckEnd::refused, "TLS cannot be set up");
    }
    for (;;) {
        const Handshake state = socket.shake_hands();
        if (state == Handshake::done) {
            break;
        }
        if (state != Handshake::under_way) {
            const std::string_view why = socket.encryption()->failure();
            co_return finish(shm::CheckEnd::refused, "TLS: " + std::string(why.empty() ? "the server closed the connection" : why));
        }
        if (alarm_.rang()) {
            co_return finish_late("the TLS handshake");
        }
        co_await wake_.wait();
    }
    if (subject_.upstream.protocol == config::UpstreamProtocol::h2 && socket.encryption()->facts().protocol != "h2") {
        co_return finish(shm::CheckEnd::refused, "it did not agree to HTTP/2 (ALPN)");
    }
    co_return Ended::no;
}

loop::Task<Probe::Ended> Probe::connect(ServerConnection& connection)
{
    int code = begin_connect(loop_, connection, subject_.address, subject_.length, wake_.news());
    while (code == 0 && !connection.socket.may_write()) {
        if (alarm_.rang()) {
            co_return finish_late("connecting");
        }
        co_await wake_.wait();
    }
    code = code != 0 ? code : connection.socket.take_error();
    const bool is_plain = check_.kind == config::CheckKind::line;
    if (code == 0 && subject_.upstream.proxy_protocol && !is_plain) {
        const std::string header = http::make_proxy_header(*subject_.upstream.proxy_protocol, {}, {});
        code = announce(connection.socket, header) ? 0 : EPIPE;
    }
    if (code != 0) {
        co_return finish(is_own_want(code) ? shm::CheckEnd::none : shm::CheckEnd::refused,
                         std::string("connect: ") + strerrordesc_np(code));
    }
    if (subject_.upstream.tls && !is_plain) {
        const Ended ended = co_await shake_hands(connection.socket);
        co_return ended;
    }
    co_return Ended::no;
}

loop::Task<Probe::Ended> Probe::begin_h2(std::unique_ptr<ServerConnection> connection)
{
    const H2Terms terms{
        subject_.upstream.name, subject_.server.text, subject_.upstream.tls.has_value(), 1, std::chrono::seconds(1), kHeadBytes};
    {
        H2Greeting greeting(wake_);
        server_.h2().adopt(std::move(connection), terms, greeting);
        while (!greeting.is_over) {
            if (alarm_.rang()) {
                co_return finish_late("its first words of HTTP/2");
            }
            co_await wake_.wait();
        }
        if (!greeting.failure.empty()) {
            co_return finish(shm::CheckEnd::refused, greeting.failure);
        }
    }
    bool has_carried = false;
    stream_ = server_.h2().open(
        terms, [](ServerConnection&) { return true; }, has_carried);
    co_return stream_ ? Ended::no : finish(shm::CheckEnd::refused, "its HTTP/2 connection takes no streams");
}

std::string Probe::host() const
{
    if (!check_.host.empty()) {
        return check_.host;
    }
    if (config::is_service(subject_.server)) {
        return config::domain_of(subject_.server);
    }
    return subject_.server.text.starts_with("unix:") ? "localhost" : subject_.server.text;
}

void Probe::write_request()
{
    const std::string host = this->host();
    HeadText text(stream_->head_room(), check_.method.size() + check_.path.size() + host.size() + 128);
    text << check_.method << " " << check_.path << " HTTP/1.1\r\n";
    text.field("Host", host).field("User-Agent", "ladle-health-check").field("Accept", "*/*").field("Connection", "close");
    text.finish();
    stream_->finish_head(Coding::none);
}

void Probe::write_grpc_request()
{
    const std::string host = this->host();
    HeadText text(stream_->head_room(), host.size() + 200);
    text << "POST /grpc.health.v1.Health/Check HTTP/1.1\r\n";
    text.field("Host", host)
        .field("User-Agent", "ladle-health-check")
        .field("Content-Type", "application/grpc")
        .field("TE", "trailers");
    text.finish();
    stream_->finish_head(Coding::plain);
    Chain body;
    body.append_copy(make_grpc_health(check_.service));
    stream_->send_body(std::move(body));
    stream_->finish_body();
}

loop::Task<Probe::Ended> Probe::receive_head(http::ResponseHead& head)
{
    for (unsigned interim = 0; interim <= kMostProbeInterim;) {
        if (!stream_->out.empty() || subject_.upstream.protocol == config::UpstreamProtocol::h2) {
            stream_->flush();
        }
        const HeadStep step = stream_->receive_head(head, {kHeadBytes, 0});
        if (step == HeadStep::complete) {
            if (head.status >= 200) {
                co_return Ended::no;
            }
            const BlockRef taken = stream_->take_head(head);
            head.clear();
            ++interim;
            continue;
        }
        if (step == HeadStep::refused) {
            co_return finish(shm::CheckEnd::malformed, "its answer is no HTTP: " + std::string(http::name_of(head.error)));
        }
        if (step != HeadStep::blocked) {
            co_return finish(shm::CheckEnd::malformed, "it ended the connection instead of an answer");
        }
        if (alarm_.rang()) {
            co_return finish_late("its answer");
        }
        co_await wake_.wait();
    }
    co_return finish(shm::CheckEnd::malformed, "too many interim responses");
}

loop::Task<Probe::Ended> Probe::receive_body(BodyReader& body, std::string& text)
{
    Chain part;
    while (!body.is_complete() && text.size() < kMostBody) {
        const BodyReader::Pull pull = stream_->pull_body(body, part, kMostBody - text.size());
        while (!part.empty()) {
            iovec piece{};
            part.vectors(&piece, 1);
            text.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
            part.consume(piece.iov_len);
        }
        if (pull == BodyReader::Pull::refused || pull == BodyReader::Pull::cut || pull == BodyReader::Pull::failed) {
            co_return finish(shm::CheckEnd::malformed, "the body of its answer was cut");
        }
        if (pull != BodyReader::Pull::blocked) {
            continue;
        }
        if (alarm_.rang()) {
            co_return finish_late("the body of its answer");
        }
        co_await wake_.wait();
    }
    co_return Ended::no;
}

/// Says what the agent is to be told, and takes its line: up to the line's end, the connection's, or kMostAgentLine.
loop::Task<void> Probe::exchange_lines(ServerConnection& connection)
{
    Chain out;
    out.append_copy(fill_in(check_.send, subject_.upstream.name, subject_.server.text));
    for (;;) {
        while (!out.empty() && connection.socket.may_write()) {
            if (connection.socket.write(out).state == IoState::failed) {
                finish(shm::CheckEnd::malformed, "it ended the connection before it was asked");
                co_return;
            }
        }
        while (connection.socket.may_read()) {
            char bytes[kMostAgentLine];
            const Io io = connection.socket.read(bytes, kMostAgentLine - text_.size());
            if (io.state == IoState::would_block) {
                break;
            }
            if (io.state == IoState::failed) {
                finish(shm::CheckEnd::malformed, "it reset the connection");
                co_return;
            }
            text_.append(bytes, io.bytes);
            if (io.state == IoState::end || text_.find_first_of("\r\n") != std::string::npos) {
                finish(shm::CheckEnd::good, {});
                co_return;
            }
            if (text_.size() == kMostAgentLine) {
                finish(shm::CheckEnd::malformed, "its line is too long");
                co_return;
            }
        }
        if (alarm_.rang()) {
            finish_late("its line");
            co_return;
        }
        co_await wake_.wait();
    }
}

void Probe::judge(const http::ResponseHead& head, std::string body)
{
    const bool is_expected = std::any_of(check_.expect.begin(), check_.expect.end(), [&](const auto& statuses) {
        return head.status >= statuses.first && head.status <= statuses.last;
    });
    if (!is_expected) {
        finish(shm::CheckEnd::wrong_status, "status " + std::to_string(head.status));
    } else if (!check_.body.empty() && body.find(check_.body) == std::string::npos) {
        finish(shm::CheckEnd::wrong_body, "the body of its answer does not contain the text");
    } else {
        text_ = std::move(body);
        finish(shm::CheckEnd::good, {});
    }
}

void Probe::judge_grpc(const http::ResponseHead& head, const BodyReader& reader, const std::string& body)
{
    http::Fields trailers(100);
    if (reader.may_have_trailers() && !reader.chunks().parse_trailers(trailers)) {
        finish(shm::CheckEnd::malformed, "malformed trailers");
        return;
    }
    std::string_view code;
    for (const http::Fields* fields : {&head.fields, const_cast<const http::Fields*>(&trailers)}) {
        for (const http::Field& field : *fields) {
            code = http::equals_ignoring_case(fields->name(field), "grpc-status") ? fields->value(field) : code;
        }
    }
    if (head.status != 200) {
        finish(shm::CheckEnd::wrong_status, "status " + std::to_string(head.status));
    } else if (code != "0") {
        finish(shm::CheckEnd::not_serving, "grpc-status " + std::string(code.empty() ? "missing" : code));
    } else if (const int status = parse_grpc_health(body); status < 0) {
        finish(shm::CheckEnd::malformed, "its answer is no HealthCheckResponse");
    } else if (status != kServing) {
        finish(shm::CheckEnd::not_serving, status == 2 ? "NOT_SERVING" : "serving status " + std::to_string(status));
    } else {
        finish(shm::CheckEnd::good, {});
    }
}

loop::Task<void> Probe::run()
{
    std::unique_ptr<ServerConnection> connection = server_.make_connection();
    Ended ended = co_await connect(*connection);
    if (ended == Ended::yes) {
        co_return;
    }
    if (check_.kind == config::CheckKind::tcp) {
        finish(shm::CheckEnd::good, {});
        co_return;
    }
    if (check_.kind == config::CheckKind::line) {
        co_await exchange_lines(*connection);
        co_return;
    }
    if (subject_.upstream.protocol == config::UpstreamProtocol::h2) {
        ended = co_await begin_h2(std::move(connection));
        if (ended == Ended::yes) {
            co_return;
        }
    } else {
        stream_ = std::move(connection);
    }
    stream_->set_news(&wake_.news());
    const bool is_grpc = check_.kind == config::CheckKind::grpc;
    is_grpc ? write_grpc_request() : write_request();
    http::ResponseHead head;
    ended = co_await receive_head(head);
    if (ended == Ended::yes) {
        co_return;
    }
    const auto framing = http::response_framing(head, check_.method == "HEAD" && !is_grpc ? http::Method::head : http::Method::get);
    if (!framing) {
        finish(shm::CheckEnd::malformed, "the length of its answer is not clear");
        co_return;
    }
    const BlockRef kept = stream_->take_head(head); // its fields stay as long as this
    BodyReader reader;
    reader.begin(*framing);
    std::string body;
    ended = co_await receive_body(reader, body);
    if (ended == Ended::no) {
        is_grpc ? judge_grpc(head, reader, body) : judge(head, std::move(body));
    }
}

} // namespace ladle::worker
