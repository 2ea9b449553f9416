// SPDX-License-Identifier: Apache-2.0
//
// TLS on one socket, as its Encryption. OpenSSL reads and writes through a BIO of our own:
//
//   kernel ─► received_ (one block, only while it holds something) ─► SSL ─► the reader
//   the writer ─► SSL, a record each ─► pending_ ─► kernel, many records in one system call
//
// So a response needs one receive and one send like a plain one. Bytes count as written when their records are with the kernel:
// `ahead_` remembers how many are encrypted and still wait in pending_, so that whoever writes keeps them and comes again, as on a
// plain socket, and nothing of a connection is in two places. An idle stream holds no buffer, here or in OpenSSL, and its SSL rests
// (memory.h).
#pragma once

#include "common/loop/loop.h"
#include "common/shm/rows.h"
#include "worker/net/blocks.h"
#include "worker/net/encryption.h"
#include "worker/net/socket.h"
#include "worker/tls/handshake_job.h"
#include "worker/tls/library.h"
#include "worker/tls/memory.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace ladle::worker {

/// The session that the next connection to a server resumes; all connections to it share one.
struct TlsSession {
    SessionPtr session; ///< null = none yet
};

class TlsStream final : public Encryption {
public:
    /// What the other side is.
    enum class Peer : std::uint8_t { client, server };

    /// For a socket that outlives it. `ssl` is set up for its side and has no BIO yet.
    TlsStream(loop::Loop& loop, Socket& socket, SslPtr ssl, Peer peer, shm::ProcessRow& row);
    /// To a server: the session goes there once it can be resumed.
    void keep_session_in(std::shared_ptr<TlsSession> place) noexcept { session_ = std::move(place); }
    /// During a client's handshake: what it is asked to show.
    void set_demand(std::string fingerprint) { demand_ = std::move(fingerprint); }
    /// Of a client: its first message may bring early data, at most so much as the SSL is set up for.
    void expect_early_data() noexcept { expects_early_data_ = true; }
    /// The stream of an SSL that was given to one.
    static TlsStream& of(SSL* ssl) noexcept;
    ~TlsStream() override;
    TlsStream(const TlsStream&) = delete;
    TlsStream& operator=(const TlsStream&) = delete;

    Handshake shake_hands() override;
    std::string_view failure() const noexcept override { return failure_; }
    HandshakeFailure failure_kind() const noexcept override { return failure_kind_; }
    EncryptionFacts facts() const noexcept override;
    Io read(char* at, std::size_t size) override;
    bool has_unread() const noexcept override;
    Io write(const iovec* vectors, int count, Follows follows) override;
    void finish_writing() noexcept override;

private:
    struct Cursor;
    static BIO_METHOD* bio_method();
    static int on_bio_read(BIO* bio, char* at, int size);
    static int on_bio_write(BIO* bio, const char* from, int size);
    static long on_bio_control(BIO* bio, int command, long number, void* argument);
    static void on_message(int is_sent, int version, int type, const void* bytes, std::size_t size, SSL* ssl, void*);

    std::size_t take_received(char* at, std::size_t size);
    bool receive_more();
    bool is_flooded() const noexcept;
    bool is_plain_http() const noexcept;
    Handshake give_up() noexcept;
    int read_early_data();
    void finish_handshake();
    Io take_early(char* at, std::size_t size);
    int continue_handshake();
    Io end_of_read(int error);
    void keep_session();
    void note_subject();
    bool encrypt(Cursor& from);
    std::size_t record_limit() const noexcept;
    /// Sends what waits; false = the connection is broken.
    bool flush(Follows follows = Follows::nothing);

    loop::Loop& loop_;
    Socket& socket_;
    shm::ProcessRow& row_;
    mutable RestingSsl ssl_;
    Peer peer_;
    BlockRef received_;
    std::uint32_t received_at_ = 0;
    std::uint32_t received_end_ = 0;
    Chain pending_;
    std::size_t ahead_ = 0;             ///< bytes of the writer's whose records are made and not all sent
    std::uint64_t sent_ = 0;            ///< bytes encrypted since the last pause: decides how large records are
    loop::Nanos last_write_ = 0;
    std::size_t batch_;                 ///< bytes encrypted before they are sent; few for a peer that is slow
    HandshakeJob job_;
    std::string_view failure_;
    HandshakeFailure failure_kind_ = HandshakeFailure::left;
    std::string demand_;
    std::string subject_;
    std::shared_ptr<TlsSession> session_; ///< null = a client's, or kept already
    std::uint64_t read_ = 0;            ///< bytes decrypted for the reader
    std::uint32_t own_messages_ = 0;    ///< of TLS itself that came since the handshake: KeyUpdate, tickets
    int receive_error_ = 0;             ///< errno
    bool expects_early_data_ = false;   ///< and the last of it has not been read
    Chain early_bytes_;                 ///< received before the end of the handshake, and not read
    bool has_begun_ = false;            ///< the first bytes were seen, and are not plain HTTP
    bool has_shaken_hands_ = false;
    bool has_ended_ = false;            ///< the peer closed the connection under TLS
    bool is_broken_ = false;            ///< OpenSSL must not be asked any more
};

} // namespace ladle::worker
