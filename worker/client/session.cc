// SPDX-License-Identifier: Apache-2.0
#include "worker/client/session.h"

#include "common/os/log.h"
#include "worker/client/front.h"
#include "worker/client/proxy_header.h"
#include "worker/net/address.h"
#include "worker/request/admit.h"
#include "worker/request/exchange.h"

namespace ladle::worker {

namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::chrono::milliseconds kLingerTime{2000};
constexpr std::size_t kLingerBytes = 1 << 20; // of an unread body that are still taken in, so that our answer arrives
constexpr std::size_t kLingerTurn = 32 << 10; // of them in a turn; and of who is not known to behave in all

shm::Metric metric_of(HandshakeFailure failure) noexcept
{
    switch (failure) {
    case HandshakeFailure::left:
        return shm::Metric::tls_failed_left;
    case HandshakeFailure::nothing_common:
        return shm::Metric::tls_failed_nothing_common;
    case HandshakeFailure::certificate:
        return shm::Metric::tls_failed_client_certificate;
    case HandshakeFailure::refused:
        return shm::Metric::tls_failed_refused;
    case HandshakeFailure::malformed:
        return shm::Metric::tls_failed_malformed;
    case HandshakeFailure::local:
        break;
    }
    return shm::Metric::tls_failed_local;
}

} // namespace

Session::Session(Front& front, std::shared_ptr<LiveConfig> live, std::string bind_text)
    : front_(front), live_(std::move(live)), bind_text_(std::move(bind_text)), client_(front.parts().loop, front.parts().row)
{
    listen_ = live_->router.listen_index(bind_text_);
    listener_is_gone_ = listen_ == Router::kNoListen;
    front_.parts().row.add(shm::Metric::connections_open);
}

Session::~Session()
{
    end_idle();
    front_.parts().row.subtract(shm::Metric::connections_open);
}

bool Session::start(os::Fd socket, const sockaddr_storage& peer)
{
    client_.peer = peer;
    client_.peer_text = text_of(peer);
    if (!client_.socket.start(front_.parts().loop, std::move(socket), peer.ss_family, &client_.wake.news())) {
        return false;
    }
    main_ = run();
    main_.start();
    return true;
}

void Session::close_idle() noexcept
{
    is_closing_ = true;
    client_.wake.kick_later();
}

/// Takes the newest configuration for the next request, unless that one has no place for this listener.
void Session::follow_config()
{
    if (live_ == front_.live()) {
        return;
    }
    const std::uint32_t listen = front_.live()->router.listen_index(bind_text_);
    listener_is_gone_ = listen == Router::kNoListen;
    if (!listener_is_gone_) {
        live_ = front_.live();
        listen_ = listen;
    }
}

/// What comes before the first request. False = there is nobody to serve.
loop::Task<bool> Session::open()
{
    if (!listener_is_gone_ && expects_proxy_header(live_->config->listens[listen_], client_)) {
        const bool is_told = co_await receive_proxy_header(client_, live_->config->timeouts.handshake, front_.parts().row);
        if (!is_told) {
            co_return false;
        }
    }
    const bool is_safe = co_await shake_hands();
    co_return is_safe;
}

/// TLS, where the address speaks it. False = there is nobody to serve.
loop::Task<bool> Session::shake_hands()
{
    if (listener_is_gone_ || !live_->config->listens[listen_].is_tls) {
        co_return true;
    }
    shm::ProcessRow& row = front_.parts().row;
    client_.alarm.set(live_->config->timeouts.handshake);
    while (client_.socket.is_silent() && !client_.alarm.rang()) {
        co_await client_.wake.wait(); // TLS takes 20 KB for itself: not for who says nothing
    }
    client_.socket.encrypt(live_->acceptor->accept(front_.parts().loop, client_.socket, listen_));
    row.add(shm::Metric::tls_handshakes);
    Handshake state = Handshake::failed;
    while (client_.socket.encryption() != nullptr) {
        if (front_.handshakes().try_pass(front_.parts().loop.now())) {
            state = client_.socket.shake_hands();
        } else {
            state = Handshake::under_way;
            row.add(shm::Metric::tls_put_off);
            client_.wake.kick_later();
        }
        if (state != Handshake::under_way || client_.alarm.rang()) {
            break;
        }
        co_await client_.wake.wait();
    }
    if (state == Handshake::done || state == Handshake::early) {
        client_.encryption = client_.socket.encryption();
        client_.came_early = state == Handshake::early;
        const EncryptionFacts facts = client_.socket.encryption()->facts();
        row.add(shm::Metric::tls_resumed, facts.is_resumed ? 1 : 0);
        row.add(shm::Metric::tls_early_taken, facts.early == Early::taken ? 1 : 0);
        row.add(shm::Metric::tls_early_refused, facts.early == Early::refused ? 1 : 0);
        row.add(facts.version == "TLSv1.3" ? shm::Metric::tls_1_3 : shm::Metric::tls_1_2);
        co_return true;
    }
    if (state == Handshake::not_tls) {
        row.add(shm::Metric::tls_not_tls);
        client_.socket.encrypt(nullptr);
        co_await answer_plain_http();
    } else if (state == Handshake::under_way) {
        row.add(shm::Metric::tls_timeouts);
        log_failed_handshake("it took too long");
    } else {
        const Encryption* encryption = client_.socket.encryption();
        row.add(shm::Metric::tls_failed);
        row.add(metric_of(encryption != nullptr ? encryption->failure_kind() : HandshakeFailure::local));
        log_failed_handshake(encryption != nullptr ? encryption->failure() : "no memory");
    }
    co_return false;
}

void Session::log_failed_handshake(std::string_view reason)
{
    if (os::is_logged(os::Level::info)) {
        os::log(os::Level::info, "a TLS handshake failed",
                {{"client", client_.peer_text}, {"reason", reason.empty() ? std::string_view("the client left") : reason}});
    }
}

/// What it sent is gone: all that can be said is what it should have spoken.
loop::Task<void> Session::answer_plain_http()
{
    Request request(front_.parts(), client_, live_);
    request.listen = listen_;
    client_.body.begin({});
    co_await run_not_tls(request);
    co_await linger();
}

const std::shared_ptr<LiveConfig>& Session::newest_config()
{
    follow_config();
    return live_;
}

WorkerParts& Session::parts() noexcept
{
    return front_.parts();
}

void Session::on_drain() noexcept
{
    if (h2_) {
        client_.wake.kick_later();
    }
}

void Session::begin_idle() noexcept
{
    if (idle_since_ == 0) {
        front_.parts().row.add(shm::Metric::connections_idle);
        idle_since_ = front_.parts().loop.now();
    }
}

void Session::end_idle() noexcept
{
    if (idle_since_ != 0) {
        idle_since_ = 0;
        front_.parts().row.subtract(shm::Metric::connections_idle);
    }
}

/// RFC 9113 §3.2, §3.3: what was agreed on in the handshake; where nothing was, HTTP/2 is what begins with its preface.
std::optional<Protocol> Session::choose_protocol() const noexcept
{
    const std::string_view agreed = client_.encryption != nullptr ? client_.encryption->facts().protocol : std::string_view{};
    if (!agreed.empty()) {
        return agreed == "h2" ? Protocol::http_2 : Protocol::http_1;
    }
    const bool speaks_h2 = listen_ != Router::kNoListen && live_->config->listens[listen_].speaks_h2;
    const std::string_view bytes = client_.input.unread().substr(0, kPreface.size());
    if (!speaks_h2 || !kPreface.starts_with(bytes)) {
        return Protocol::http_1;
    }
    return bytes.size() == kPreface.size() ? std::optional(Protocol::http_2) : std::nullopt;
}

/// Waits until the client's first bytes say what it speaks.
loop::Task<Protocol> Session::await_protocol()
{
    client_.alarm.set(live_->config->timeouts.header);
    std::optional<Protocol> protocol;
    while (!protocol) {
        Io io{IoState::would_block, 0, 0};
        if (client_.socket.may_read()) {
            io = client_.input.fill(client_.socket, kBlockBytes);
            front_.parts().row.add(shm::Metric::bytes_from_clients, io.bytes);
        }
        if (io.state == IoState::would_block && !client_.alarm.rang()) {
            co_await client_.wake.wait();
            continue;
        }
        protocol = io.state == IoState::done ? choose_protocol() : Protocol::http_1; // which says what is wrong
    }
    co_return *protocol;
}

loop::Task<After> Session::serve_all()
{
    Begin begin = co_await wait_for_bytes();
    if (begin == Begin::leave) {
        co_return After::close;
    }
    std::optional<Protocol> protocol = choose_protocol();
    if (!protocol) {
        const Protocol found = co_await await_protocol();
        protocol = found;
    }
    if (protocol == Protocol::http_2) {
        client_.wake.news().set_order(loop::Order::patient); // as it is new, behind all others from its first frame on
        client_.wake.kick_later();
        co_await client_.wake.wait();
        h2_ = std::make_unique<H2Connection>(*this, client_);
        const After after = co_await h2_->run();
        h2_.reset(); // what follows may take long
        co_return after;
    }
    for (;;) {
        const After after = co_await serve();
        client_.input.release_if_empty();
        if (after != After::keep) {
            co_return after;
        }
        begin = co_await wait_for_bytes();
        if (begin == Begin::leave) {
            co_return After::close;
        }
    }
}

loop::Task<void> Session::run()
{
    const bool is_served = co_await open();
    After after = After::close;
    if (is_served) {
        const After served = co_await serve_all();
        after = served;
    }
    if (after == After::close && client_.is_early()) {
        co_await end_handshake();
    }
    client_.alarm.clear();
    if (after == After::abort || client_.is_gone) {
        client_.socket.abort();
    } else if (is_served && must_linger()) {
        co_await linger();
    }
    client_.socket.close();
    front_.retire(*this);
}

loop::Task<Session::Begin> Session::wait_for_bytes()
{
    shm::ProcessRow& row = front_.parts().row;
    bool is_armed = false;
    while (client_.input.empty()) {
        if (client_.socket.may_read()) {
            const Io io = client_.input.fill(client_.socket, kBlockBytes);
            if (io.state == IoState::done) {
                row.add(shm::Metric::bytes_from_clients, io.bytes);
                break;
            }
            client_.input.release_if_empty();
            if (io.state != IoState::would_block) {
                client_.is_gone = io.state == IoState::failed;
                break;
            }
        }
        if (is_closing_ || (is_armed && client_.alarm.rang())) { // a ring before that was for the last request
            break;
        }
        if (!is_armed) {
            is_armed = true;
            begin_idle();
            client_.alarm.set(idle_time());
        }
        co_await client_.wake.wait();
    }
    end_idle();
    co_return client_.input.empty() ? Begin::leave : Begin::bytes;
}

loop::Task<std::optional<Answer>> Session::receive_head(Request& request)
{
    const config::RequestLimits& limits = live_->config->request_limits;
    const http::HeadLimits head_limits{limits.head_bytes, limits.uri_bytes};
    client_.alarm.set(live_->config->timeouts.header);
    for (;;) {
        if (!client_.input.empty()) {
            const http::Progress progress = request.head.parse(client_.input.unread(), head_limits);
            if (progress == http::Progress::complete) {
                request.head_block = client_.input.block();
                client_.input.consume(request.head.size());
                request.body_has_begun = !client_.input.empty();
                request.times.head = loop::clock_now();
                co_return std::nullopt;
            }
            if (progress == http::Progress::refused) {
                request.head_block = client_.input.block();
                co_return answer_for(request.head.error);
            }
        }
        if (client_.socket.may_read()) {
            const Io io = client_.input.fill(client_.socket, limits.head_bytes);
            front_.parts().row.add(shm::Metric::bytes_from_clients, io.bytes);
            if (io.state == IoState::done) {
                continue;
            }
            request.head.rebase(client_.input.unread().data());
            if (io.state != IoState::would_block) {
                co_return Answer{499, Reason::client_left};
            }
        }
        if (client_.alarm.rang()) {
            co_return Answer{408, Reason::head_timeout};
        }
        co_await client_.wake.wait();
    }
}

loop::Task<After> Session::serve()
{
    follow_config();
    Request request(front_.parts(), client_, live_);
    request.listen = listen_;
    client_.body.begin({});
    std::optional<Answer> refused = co_await receive_head(request);
    if (!refused && listen_ != Router::kNoListen && !live_->config->listens[listen_].speaks_h1) {
        refused = Answer{505, Reason::bad_version};
    }
    if (refused && refused->reason == Reason::client_left && !request.head.has_begun(client_.input.unread())) {
        co_return After::close; // nothing but an empty line
    }
    if (refused) {
        co_await run_refused(request, *refused);
    } else {
        if (listener_is_gone_) {
            request.after = After::close;
        }
        co_await run_exchange(request);
        idle_time_ = request.timeouts().idle;
    }
    co_return request.after;
}

/// All is said before the client's last word of the handshake: without that we may not say that it is all.
loop::Task<void> Session::end_handshake()
{
    client_.alarm.set(kLingerTime);
    while (client_.is_early() && client_.pursue_handshake() && client_.is_early() && !client_.alarm.rang()) {
        co_await client_.wake.wait();
    }
}

/// Closing while the client still sends would reset the connection and take our last answer with it.
bool Session::must_linger() const noexcept
{
    return !client_.body.is_complete() || !client_.input.empty() || client_.socket.may_read();
}

loop::Task<void> Session::linger()
{
    client_.socket.finish_writing();
    client_.alarm.set(kLingerTime);
    const std::size_t most = client_.wake.news().is_patient() ? kLingerTurn : kLingerBytes;
    std::size_t taken = 0;
    std::size_t turn_end = kLingerTurn;
    char scrap[4096];
    client_.input = Input{};
    while (taken < most && !client_.alarm.rang()) {
        if (client_.socket.may_read()) {
            const Io io = client_.socket.read(scrap, sizeof scrap);
            taken += io.bytes;
            if (io.state == IoState::done && taken < turn_end) {
                continue;
            }
            if (io.state == IoState::done) {
                client_.wake.kick_later();
            } else if (io.state != IoState::would_block) {
                break;
            }
        }
        co_await client_.wake.wait();
        turn_end = taken + kLingerTurn;
    }
}

} // namespace ladle::worker
