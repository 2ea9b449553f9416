// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/stream.h"

#include "common/base/assert.h"

#include <openssl/err.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace ladle::worker {

namespace {

constexpr std::size_t kLargeRecord = 16 << 10;
constexpr std::size_t kSmallRecord = 2 * 1448 - 29; // two segments: the peer can use them as soon as those are there
constexpr std::uint64_t kSmallUntil = 64 << 10;     // by then the congestion window lets a large record come in one go
constexpr loop::Nanos kWindowPause = 1'000'000'000;       // after which the window is small again
constexpr std::size_t kLargeBatch = 64 << 10;
constexpr std::size_t kSmallBatch = kLargeRecord;
constexpr std::size_t kPendingMost = 256 << 10; // nothing of the writer's: answers to a peer that asks for new keys all the time
constexpr std::uint32_t kOwnMessages = 32;     // of TLS itself after the handshake, that need no bytes read between them
constexpr std::uint64_t kReadForOne = 1 << 20; // bytes read for each further one
constexpr std::size_t kDirectFrom = 4096;       // a read of so much goes past received_

} // namespace

/// Where a write stands in its pieces.
struct TlsStream::Cursor {
    const iovec* vectors;
    int count;
    std::size_t skipped = 0; ///< of vectors[0]

    void advance(std::size_t n) noexcept
    {
        skipped += n;
        while (count > 0 && skipped >= vectors->iov_len) {
            skipped -= vectors->iov_len;
            ++vectors;
            --count;
        }
    }

    /// The next bytes, at most `limit`, in one piece: where they stand, or copied into `scrap` from several pieces.
    std::string_view front(std::size_t limit, char* scrap) const noexcept
    {
        const auto* base = static_cast<const char*>(vectors->iov_base) + skipped;
        const std::size_t size = vectors->iov_len - skipped;
        if (size >= limit || count == 1) {
            return {base, std::min(size, limit)};
        }
        std::memcpy(scrap, base, size);
        std::size_t used = size;
        for (int i = 1; i < count && used < limit; ++i) {
            const std::size_t n = std::min(vectors[i].iov_len, limit - used);
            std::memcpy(scrap + used, vectors[i].iov_base, n);
            used += n;
        }
        return {scrap, used};
    }
};

BIO_METHOD* TlsStream::bio_method()
{
    static BIO_METHOD* const method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ladle socket");
        LADLE_ASSERT(made != nullptr);
        BIO_meth_set_read(made, &TlsStream::on_bio_read);
        BIO_meth_set_write(made, &TlsStream::on_bio_write);
        BIO_meth_set_ctrl(made, &TlsStream::on_bio_control);
        return made;
    }();
    return method;
}

TlsStream::TlsStream(loop::Loop& loop, Socket& socket, SslPtr ssl, Peer peer, shm::ProcessRow& row)
    : loop_(loop), socket_(socket), row_(row), ssl_(std::move(ssl)), peer_(peer), batch_(kLargeBatch), job_{loop, socket},
      has_begun_(peer == Peer::server)
{
    BIO* bio = BIO_new(bio_method());
    LADLE_ASSERT(bio != nullptr);
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_msg_callback(ssl_.get(), &TlsStream::on_message);
}

TlsStream::~TlsStream()
{
    if (SSL_waiting_for_async(ssl_.get()) == 1) { // the job's stack is its own: it has to come to an end
        job_.is_given_up = true;
        continue_handshake();
        ERR_clear_error();
    }
    // Without this OpenSSL takes the session for a failed one, and it is never resumed.
    SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

TlsStream& TlsStream::of(SSL* ssl) noexcept
{
    return *static_cast<TlsStream*>(BIO_get_data(SSL_get_rbio(ssl)));
}

int TlsStream::on_bio_read(BIO* bio, char* at, int size)
{
    auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const std::size_t taken = stream.take_received(at, static_cast<std::size_t>(size));
    if (taken == 0) {
        BIO_set_retry_read(bio); // an end too: end_of_read() tells it, and OpenSSL can still write
        return -1;
    }
    return static_cast<int>(taken);
}

int TlsStream::on_bio_write(BIO* bio, const char* from, int size)
{
    auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (stream.pending_.bytes() > kPendingMost) {
        BIO_set_retry_write(bio);
        return -1;
    }
    stream.pending_.append_copy({from, static_cast<std::size_t>(size)});
    return size;
}

long TlsStream::on_bio_control(BIO*, int command, long, void*)
{
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

/// Fills received_, which is empty; false = nothing came.
bool TlsStream::receive_more()
{
    if (has_ended_ || receive_error_ != 0) {
        return false;
    }
    if (!received_) {
        received_ = BlockRef::make();
    }
    const Io io = socket_.receive(received_->data, received_->capacity);
    has_ended_ = io.state == IoState::end;
    receive_error_ = io.state == IoState::failed ? io.code : 0;
    received_at_ = 0;
    received_end_ = static_cast<std::uint32_t>(io.bytes);
    if (io.bytes == 0) {
        received_.reset();
    }
    return io.bytes > 0;
}

void TlsStream::on_message(int is_sent, int, int type, const void*, std::size_t, SSL* ssl, void*)
{
    if (TlsStream& stream = of(ssl); type == SSL3_RT_HANDSHAKE && is_sent == 0 && stream.has_shaken_hands_) {
        ++stream.own_messages_;
    }
}

/// SSL_read goes on as long as there are bytes and none for the reader: a peer that sends nothing but KeyUpdate, 27 bytes each,
/// would keep us at making keys for seconds. Honest ones send one in many gigabytes, and servers a few tickets.
bool TlsStream::is_flooded() const noexcept
{
    return own_messages_ > kOwnMessages + read_ / kReadForOne;
}

std::size_t TlsStream::take_received(char* at, std::size_t size)
{
    if (is_flooded()) {
        row_.add(shm::Metric::tls_floods, failure_.empty() ? 1 : 0);
        failure_ = "too many messages of TLS itself";
        receive_error_ = EPROTO;
        return 0;
    }
    if (received_at_ == received_end_ && size >= kDirectFrom && !has_ended_ && receive_error_ == 0) {
        const Io io = socket_.receive(at, size);
        has_ended_ = io.state == IoState::end;
        receive_error_ = io.state == IoState::failed ? io.code : 0;
        return io.bytes;
    }
    if (received_at_ == received_end_ && !receive_more()) {
        return 0;
    }
    const std::size_t taken = std::min<std::size_t>(size, received_end_ - received_at_);
    std::memcpy(at, received_->data + received_at_, taken);
    received_at_ += static_cast<std::uint32_t>(taken);
    if (received_at_ == received_end_) {
        received_.reset();
        received_at_ = received_end_ = 0;
    }
    return taken;
}

bool TlsStream::flush(Follows follows)
{
    if (pending_.empty()) {
        return true;
    }
    const Io io = socket_.send(pending_, follows);
    if (pending_.empty()) {
        pending_.clear(); // and its last block
    }
    return io.state != IoState::failed;
}

/// A TLS record begins with its type, 22 in a first one; a request begins with a method.
bool TlsStream::is_plain_http() const noexcept
{
    const char first = received_->data[received_at_];
    return first >= 'A' && first <= 'Z';
}

Handshake TlsStream::give_up() noexcept
{
    is_broken_ = true;
    return Handshake::failed;
}

/// Takes the early data that has come; where that is all, the handshake goes on to its end.
int TlsStream::read_early_data()
{
    for (;;) {
        const auto [at, room] = early_bytes_.room(kSmallRecord);
        std::size_t got = 0;
        const int result = SSL_read_early_data(ssl_.get(), at, room, &got);
        if (result == SSL_READ_EARLY_DATA_ERROR) {
            return -1;
        }
        early_bytes_.filled(got);
        if (result == SSL_READ_EARLY_DATA_FINISH) {
            expects_early_data_ = false;
            return SSL_do_handshake(ssl_.get());
        }
    }
}

/// OpenSSL's next steps. With the client's first message the TlsAcceptor may ask for a job to go on in.
int TlsStream::continue_handshake()
{
    const auto go_on = [this] { return expects_early_data_ ? read_early_data() : SSL_do_handshake(ssl_.get()); };
    HandshakeJob::running = &job_;
    int result = go_on();
    if (result != 1 && SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_CLIENT_HELLO_CB) {
        result = go_on();
    }
    HandshakeJob::running = nullptr;
    return result;
}

Handshake TlsStream::shake_hands()
{
    if (is_broken_) {
        return Handshake::failed;
    }
    if (!has_begun_) {
        if (!receive_more()) {
            return has_ended_ || receive_error_ != 0 ? give_up() : Handshake::under_way;
        }
        if (is_plain_http()) {
            is_broken_ = true;
            return Handshake::not_tls;
        }
        has_begun_ = true;
    }
    ERR_clear_error();
    const int result = continue_handshake();
    if (early_bytes_.empty()) {
        early_bytes_.clear(); // and its block
    }
    if (result == 1) {
        finish_handshake();
        // What TLS 1.3 sends last (our side's tickets, or the client's Finished) goes with the first answer or request.
        const bool peer_waits = peer_ == Peer::client && SSL_version(ssl_.get()) < TLS1_3_VERSION;
        return peer_waits && !flush() ? give_up() : Handshake::done;
    }
    const int error = SSL_get_error(ssl_.get(), result);
    const bool goes_on = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_ASYNC;
    if (!goes_on) {
        failure_kind_ = kind_of_tls_error();
        failure_ = take_tls_error();
        failure_ = job_.failure.empty() ? failure_ : job_.failure;
        if (const long verified = SSL_get_verify_result(ssl_.get()); verified != X509_V_OK) {
            failure_ = X509_verify_cert_error_string(verified); // expired, another name, an unknown CA
        }
        flush(); // the alert that says why
        return give_up();
    }
    if (!flush() || has_ended_ || receive_error_ != 0) {
        return give_up();
    }
    return early_bytes_.empty() ? Handshake::under_way : Handshake::early;
}

void TlsStream::finish_handshake()
{
    has_shaken_hands_ = true;
    ssl_.may_rest();
    SSL_clear_mode(ssl_.get(), SSL_MODE_ASYNC);
    note_subject();
    SSL_set_tlsext_status_ocsp_resp(ssl_.get(), nullptr, 0); // sent: not to be held for as long as the connection lasts
}

/// Who the client has proved to be; also of a session that is resumed, whose ticket holds the certificate.
void TlsStream::note_subject()
{
    const X509* shown = demand_.empty() ? nullptr : SSL_get0_peer_certificate(ssl_.get());
    const BioPtr text(shown != nullptr ? BIO_new(BIO_s_mem()) : nullptr);
    if (!text || X509_NAME_print_ex(text.get(), X509_get_subject_name(shown), 0, XN_FLAG_RFC2253) < 0) {
        return;
    }
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(text.get(), &bytes);
    subject_.assign(bytes, static_cast<std::size_t>(std::max(size, 0L)));
}

EncryptionFacts TlsStream::facts() const noexcept
{
    const unsigned char* protocol = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(ssl_.get(), &protocol, &length);
    const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl_.get());
    const int early = SSL_get_early_data_status(ssl_.get());
    return {SSL_get_version(ssl_.get()), cipher != nullptr ? SSL_CIPHER_get_name(cipher) : "",
            std::string_view(reinterpret_cast<const char*>(protocol), length),
            SSL_session_reused(ssl_.get()) == 1,
            !has_shaken_hands_,
            early == SSL_EARLY_DATA_ACCEPTED   ? Early::taken
            : early == SSL_EARLY_DATA_REJECTED ? Early::refused
                                               : Early::none,
            demand_,
            subject_};
}

bool TlsStream::has_unread() const noexcept
{
    return !early_bytes_.empty() || received_at_ != received_end_ || SSL_pending(ssl_.get()) > 0;
}

Io TlsStream::end_of_read(int error)
{
    if (error == SSL_ERROR_ZERO_RETURN) {
        return {IoState::end, 0, 0};
    }
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        failure_ = take_tls_error();
        is_broken_ = true;
        flush(); // the alert that says why
        return {IoState::failed, 0, EPROTO};
    }
    if (receive_error_ != 0) {
        return {IoState::failed, 0, receive_error_};
    }
    if (has_ended_) {
        // Somebody between may have cut it. A client's request says how long it is; a server's response may not (RFC 9112 §9.8).
        return peer_ == Peer::client ? Io{IoState::end, 0, 0} : Io{IoState::failed, 0, ECONNRESET};
    }
    return flush() ? Io{IoState::would_block, 0, 0} : Io{IoState::failed, 0, EPIPE};
}

/// With the response's first bytes the tickets of TLS 1.3 are there too.
void TlsStream::keep_session()
{
    SessionPtr session(SSL_get1_session(ssl_.get()));
    if (session && SSL_SESSION_is_resumable(session.get()) == 1) {
        session_->session = std::move(session);
    }
    session_.reset();
}

Io TlsStream::take_early(char* at, std::size_t size)
{
    iovec front{};
    early_bytes_.vectors(&front, 1);
    const std::size_t taken = std::min(size, front.iov_len);
    std::memcpy(at, front.iov_base, taken);
    early_bytes_.consume(taken);
    if (early_bytes_.empty()) {
        early_bytes_.clear();
    }
    return {IoState::done, taken, 0};
}

Io TlsStream::read(char* at, std::size_t size)
{
    if (is_broken_) {
        return {IoState::failed, 0, EPROTO};
    }
    if (!early_bytes_.empty()) {
        return take_early(at, size);
    }
    if (!has_shaken_hands_) {
        const Handshake state = shake_hands();
        if (state == Handshake::failed) {
            return {IoState::failed, 0, has_ended_ ? ECONNRESET : EPROTO};
        }
        if (!early_bytes_.empty()) {
            return take_early(at, size);
        }
        if (state != Handshake::done) {
            return {IoState::would_block, 0, 0};
        }
    }
    ERR_clear_error();
    std::size_t got = 0;
    if (SSL_read_ex(ssl_.get(), at, size, &got) == 1) {
        read_ += got;
        if (session_) {
            keep_session();
        }
        return {IoState::done, got, 0};
    }
    return end_of_read(SSL_get_error(ssl_.get(), 0));
}

std::size_t TlsStream::record_limit() const noexcept
{
    return sent_ < kSmallUntil ? kSmallRecord : kLargeRecord;
}

bool TlsStream::encrypt(Cursor& from)
{
    static char scrap[kLargeRecord];
    ERR_clear_error();
    for (std::size_t done = 0; from.count > 0 && done < batch_;) {
        const std::string_view record = from.front(record_limit(), scrap);
        std::size_t written = 0;
        // Before the client's last word a server may answer already: to whoever has the session's keys.
        const auto write = has_shaken_hands_ ? &SSL_write_ex : &SSL_write_early_data;
        if (write(ssl_.get(), record.data(), record.size(), &written) != 1) {
            failure_ = take_tls_error();
            is_broken_ = true;
            return false;
        }
        from.advance(written);
        done += written;
        sent_ += written;
        ahead_ += written;
    }
    return true;
}

Io TlsStream::write(const iovec* vectors, int count, Follows follows)
{
    std::size_t total = 0;
    for (int i = 0; i < count; ++i) {
        total += vectors[i].iov_len;
    }
    const loop::Nanos now = loop_.now();
    sent_ = now - last_write_ > kWindowPause ? 0 : sent_;
    last_write_ = now;
    Cursor cursor{vectors, count};
    std::size_t done = 0;
    for (;;) {
        if (is_broken_ || !flush(follows)) {
            return {IoState::failed, done, EPIPE};
        }
        if (!pending_.empty()) {
            batch_ = kSmallBatch;
            return {done > 0 ? IoState::done : IoState::would_block, done, 0};
        }
        const std::size_t taken = std::min(ahead_, total - done);
        ahead_ -= taken;
        done += taken;
        if (done == total) {
            return {IoState::done, done, 0};
        }
        batch_ = done > 0 ? std::min(2 * batch_, kLargeBatch) : batch_;
        cursor = Cursor{vectors, count};
        cursor.advance(done);
        if (!encrypt(cursor)) {
            return {IoState::failed, done, EPROTO};
        }
    }
}

void TlsStream::finish_writing() noexcept
{
    const bool is_said = (SSL_get_shutdown(ssl_.get()) & SSL_SENT_SHUTDOWN) != 0;
    if (is_broken_ || !has_shaken_hands_ || is_said || !flush() || !pending_.empty()) {
        return;
    }
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    flush();
}

} // namespace ladle::worker
