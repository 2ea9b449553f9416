// SPDX-License-Identifier: Apache-2.0
//
// Takes one message body off a connection, whatever its framing, from a client or a server, without copying: bytes that came with
// the head are sliced, the rest is read into fresh blocks. Never reads past the end of a body of known length.
#pragma once

#include "common/http/chunked.h"
#include "common/http/framing.h"
#include "worker/net/input.h"
#include "worker/net/socket.h"

#include <cstdint>
#include <string_view>

namespace ladle::worker {

class BodyReader {
public:
    enum class Pull : std::uint8_t {
        progress, ///< something was appended; call again
        blocked,  ///< wait for the socket
        complete, ///< the body has ended
        refused,  ///< its framing is broken
        cut,      ///< the connection ended in the middle
        failed,   ///< the connection failed
    };

    void begin(http::Framing framing) noexcept;
    /// Takes what is at hand, up to about `most` bytes.
    Pull pull(Socket& socket, Input& input, Chain& out, std::size_t most);

    /// Of a body that is taken elsewhere, as its protocol has frames of its own: so many bytes of it have come.
    void take(std::size_t bytes) noexcept { left_ -= left_ < bytes ? left_ : bytes; }
    /// Likewise: it has ended, with these trailers' lines
    /// ("Name: value\r\n" …). False: they are malformed, or too long.
    bool end(std::string_view trailers);

    bool is_complete() const noexcept { return complete_; }
    /// Whether trailers may have come: chunks() has them.
    bool may_have_trailers() const noexcept { return complete_ && (framing_.kind == http::BodyKind::chunked || has_trailers_); }
    http::BodyKind kind() const noexcept { return framing_.kind; }
    /// Bytes still due, of a body of known length.
    std::uint64_t left() const noexcept { return left_; }
    const http::ChunkedDecoder& chunks() const noexcept { return chunks_; }
    /// Bytes taken from the socket since begin(), for counting.
    std::uint64_t received() const noexcept { return received_; }

private:
    Pull pull_length(Socket& socket, Input& input, Chain& out, std::size_t most);
    Pull pull_chunked(Socket& socket, Input& input, Chain& out, std::size_t most);
    Pull pull_to_close(Socket& socket, Input& input, Chain& out, std::size_t most);
    std::size_t slice_input(Input& input, Chain& out, std::uint64_t most);
    void release(Input& input) const noexcept;
    static Pull verdict(const Io& io) noexcept;

    http::Framing framing_;
    std::uint64_t left_ = 0;
    std::uint64_t received_ = 0;
    bool complete_ = true;
    bool has_trailers_ = false; ///< end() was told some
    http::ChunkedDecoder chunks_;
};

} // namespace ladle::worker
