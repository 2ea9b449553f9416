// SPDX-License-Identifier: Apache-2.0
//
// What a Socket asks of the layer that encrypts what passes through it: TLS, in worker/tls/. Owned by its Socket, and made for it;
// a Socket without one is plain. Single-threaded, in the worker.
#pragma once

#include "worker/net/io.h"

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ladle::worker {

/// How a handshake stands.
enum class Handshake : std::uint8_t {
    done,
    under_way, ///< try again when the socket has news
    early,     ///< the same; but early data has come, which may be read, and answered
    not_tls,   ///< what came is a request in plain HTTP: nothing was sent yet
    failed,
};

/// Why a handshake failed, for the counters.
enum class HandshakeFailure : std::uint8_t {
    left,               ///< the peer closed the connection
    nothing_common,     ///< no version, cipher, curve, signature algorithm or protocol that both speak
    certificate,        ///< the peer's certificate: none, or a bad one
    refused,            ///< the peer's alert says so: it does not believe our certificate, or wants something else
    malformed,          ///< no TLS, or against its rules
    local,              ///< ours: no usable certificate, no memory
};

/// What became of the data that the peer sent with its first message.
enum class Early : std::uint8_t { none, refused, taken };

/// What was agreed on; views of constant texts.
struct EncryptionFacts {
    std::string_view version;  ///< "TLSv1.3"
    std::string_view cipher;   ///< "TLS_AES_256_GCM_SHA384"
    std::string_view protocol; ///< by ALPN; empty = none
    bool is_resumed = false;
    bool is_early = false;         ///< the handshake is not over: whoever sent what was read may have recorded it elsewhere
    Early early = Early::none;
    std::string_view demand;   ///< config::ClientCertificates::fingerprint of what the client was asked to show; empty = nothing
    std::string_view subject;  ///< of the certificate that it showed (RFC 4514, ASCII); empty = none
};

class Encryption {
public:
    virtual ~Encryption() = default;

    /// Goes on with the handshake as far as it can. After `early`, reads do so too.
    virtual Handshake shake_hands() = 0;
    /// Why the handshake failed, in words for the log; empty where the peer just left.
    virtual std::string_view failure() const noexcept = 0;
    /// The same for counting; only after `failed`.
    virtual HandshakeFailure failure_kind() const noexcept = 0;
    virtual EncryptionFacts facts() const noexcept = 0;

    /// Decrypted bytes. After `done` there may be more at hand: see has_unread().
    virtual Io read(char* at, std::size_t size) = 0;
    /// Whether a read may bring something although nothing has come from the kernel since.
    virtual bool has_unread() const noexcept = 0;

    /// Encrypts and sends; `bytes` are those whose records the kernel has taken whole. The next write begins with the byte behind
    /// those, in whatever pieces: what is encrypted already, and waits for the kernel, is not encrypted again.
    virtual Io write(const iovec* vectors, int count, Follows follows) = 0;

    /// Says that nothing more will be written, if everything was; once.
    virtual void finish_writing() noexcept = 0;
};

} // namespace ladle::worker
