// SPDX-License-Identifier: Apache-2.0
//
// ClientStream: the client's side of one exchange, whatever protocol it speaks: a whole HTTP/1 connection (connection.h), or one
// stream of an HTTP/2 connection. The steps of an exchange know nothing but this. Owned by the session, borrowed by the Request.
// All waiting of the exchange goes through `wake`, all its time limits through `alarm`.
//
// What the client gets is lined up in `out` and sent by flush(): the head (begin_head(), field lines, finish_head()), the body
// (send_body(), or by send_memory() and send_file() without a copy), its end (finish_body()). A body that does not come to
// its finish_body() is never shown as whole: the session cuts the connection, or resets the stream.
#pragma once

#include "common/http/head.h"
#include "common/http/proxy_header.h"
#include "worker/net/alarm.h"
#include "worker/net/body_reader.h"
#include "worker/net/encryption.h"
#include "worker/net/head_text.h"
#include "worker/request/chunked_body.h"

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::worker {

class Socket;

/// How the response's body is delimited for the client: not at all, by its length, by the protocol's own frames (HTTP/1.1: chunks),
/// by the end of the connection.
enum class BodyForm : std::uint8_t { none, length, chunked, to_close };

/// What happens to the client's connection after the exchange. Of an HTTP/2 client `close` means: nothing.
enum class After : std::uint8_t { keep, close, abort };

enum class Protocol : std::uint8_t { http_1, http_2 };

/// What the end of a response's head depends on, beside its fields.
struct HeadEnd {
    std::uint16_t status;
    BodyForm form = BodyForm::none;
    std::uint64_t length = 0; ///< of BodyForm::length
    After after = After::keep;
    http::Version version = http::Version::http_1_1; ///< of the request
    std::string_view upgrade;                        ///< the protocol, of a 101
};

class ClientStream {
public:
    struct Readiness {
        bool may_send; ///< some bytes may be taken at once
        bool may_pull; ///< a part of the request's body may be at hand
    };

    ClientStream(const ClientStream&) = delete;
    ClientStream& operator=(const ClientStream&) = delete;

    /// Begins an interim or final head: add the field lines, at most `most` bytes with the first line and what finish_head() adds
    /// (100 bytes and the name of an upgrade), then call finish_head(). Content-Length is a field line as any other.
    HeadText begin_head(std::uint16_t status, std::string_view reason, std::size_t most)
    {
        HeadText text(head_room_, most);
        text << "HTTP/1.1 " << std::uint64_t{status} << " " << reason << "\r\n";
        return text;
    }
    /// Ends the head with what this protocol says about the body and the connection.
    virtual void finish_head(HeadText& text, const HeadEnd& end) = 0;
    /// Lines up a part of the body.
    void send_body(Chain&& part)
    {
        if (is_chunked_) {
            append_chunk(out, std::move(part));
        } else {
            out.append(std::move(part));
        }
    }
    /// Lines up the end of the body, with these trailers (lines).
    virtual void finish_body(std::string trailers = {}) = 0;

    /// Sends what stands in `out`, as far as the client takes it. False = it is gone.
    virtual bool flush() = 0;
    /// Sends what stands in `out`, then bytes of memory that stays as it is, as far as the client takes both; how many of those it
    /// took. At most Socket::kMoreVectors vectors; not for a body in chunks.
    virtual std::size_t send_memory(const iovec* vectors, int count) = 0;
    /// Sends up to `size` bytes of a file, once `out` is empty; how many were taken. 0 = wait, or the client is gone.
    virtual std::size_t send_file(int file, std::uint64_t offset, std::size_t size) = 0;

    /// What may be done without waiting.
    virtual Readiness ready() const noexcept = 0;
    /// Takes some of the request's body that is at hand, up to about `most` bytes. body.begin() comes first.
    virtual BodyReader::Pull pull_body(Chain& into, std::size_t most) = 0;
    /// Whether the client has gone: asked while waiting for a server. (One that only finished sending still waits for its answer.)
    virtual bool has_left() noexcept = 0;

    /// Goes on with the handshake that the request came before the end of; false = the client is gone.
    virtual bool pursue_handshake() = 0;
    /// Whether that is not over: who sent the request may have recorded it, and not know what it says.
    bool is_early() const noexcept { return came_early && encryption->facts().is_early; }

    /// Whether everything lined up so far is on its way.
    bool is_flushed() const noexcept { return out.empty(); }
    /// Whether a body without a length goes out in HTTP/1.1's chunks.
    bool is_chunked() const noexcept { return is_chunked_; }

    const Protocol protocol;
    const std::size_t out_most; ///< bytes lined up in `out` before the spool takes over
    loop::Wake wake;
    Alarm alarm;
    BodyReader body;           ///< of the request
    Chain out;
    std::string peer_text;     ///< address without port: "192.0.2.1", "2001:db8::1", "unix:"
    sockaddr_storage peer{};
    http::Endpoint destination; ///< where the client connected to, as a PROXY header says; unknown = at `transport`'s own end
    const Socket* transport = nullptr; ///< the connection's, which is not open where a request has no client
    const Encryption* encryption = nullptr; ///< of the connection; null = plain
    bool came_early = false;   ///< the connection began with early data
    bool is_gone = false;      ///< nothing more can be said to this client
    bool has_finished = false; ///< of HTTP/1: it had closed its sending side at the last flush()

protected:
    explicit ClientStream(loop::Loop& loop) noexcept
        : protocol(Protocol::http_1), out_most(128 << 10), wake(loop), alarm(wake), head_room_(out)
    {
    }
    /// One of several streams of a connection; heads are composed in `head_room` instead of in `out`.
    ClientStream(loop::Loop& loop, Chain& head_room) noexcept
        : protocol(Protocol::http_2), out_most(32 << 10), wake(loop), alarm(wake), head_room_(head_room)
    {
    }
    ~ClientStream() = default;

    bool is_chunked_ = false;

private:
    Chain& head_room_;
};

} // namespace ladle::worker
