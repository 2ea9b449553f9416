// SPDX-License-Identifier: Apache-2.0
#include "worker/net/body_reader.h"

#include <algorithm>
#include <string>

namespace ladle::worker {

void BodyReader::begin(http::Framing framing) noexcept
{
    framing_ = framing;
    left_ = framing.kind == http::BodyKind::length ? framing.length : 0;
    received_ = 0;
    has_trailers_ = false;
    complete_ = framing.kind == http::BodyKind::none || (framing.kind == http::BodyKind::length && left_ == 0);
    if (framing.kind == http::BodyKind::chunked) {
        chunks_ = http::ChunkedDecoder{};
    }
}

bool BodyReader::end(std::string_view trailers)
{
    complete_ = true;
    has_trailers_ = !trailers.empty();
    if (framing_.kind != http::BodyKind::chunked && !has_trailers_) {
        return true;
    }
    chunks_ = http::ChunkedDecoder{};
    std::string section = "0\r\n";
    section.append(trailers).append("\r\n");
    std::string_view rest = section;
    for (;;) {
        const http::ChunkedDecoder::Next next = chunks_.next(rest);
        rest.remove_prefix(next.used);
        if (next.step == http::ChunkedDecoder::Step::end) {
            return rest.empty();
        }
        if (next.step != http::ChunkedDecoder::Step::data && (next.step != http::ChunkedDecoder::Step::more || next.used == 0)) {
            return false;
        }
    }
}

BodyReader::Pull BodyReader::verdict(const Io& io) noexcept
{
    switch (io.state) {
    case IoState::done: return Pull::progress;
    case IoState::would_block: return Pull::blocked;
    case IoState::end: return Pull::cut;
    case IoState::failed: return Pull::failed;
    }
    return Pull::failed;
}

std::size_t BodyReader::slice_input(Input& input, Chain& out, std::uint64_t most)
{
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(most, input.unread().size()));
    out.append_part(input.block(), input.unread().substr(0, n));
    input.consume(n);
    return n;
}

BodyReader::Pull BodyReader::pull(Socket& socket, Input& input, Chain& out, std::size_t most)
{
    if (complete_) {
        return Pull::complete;
    }
    switch (framing_.kind) {
    case http::BodyKind::chunked: return pull_chunked(socket, input, out, most);
    case http::BodyKind::until_close: return pull_to_close(socket, input, out, most);
    default: return pull_length(socket, input, out, most);
    }
}

BodyReader::Pull BodyReader::pull_length(Socket& socket, Input& input, Chain& out, std::size_t most)
{
    std::size_t n = 0;
    if (!input.empty()) {
        n = slice_input(input, out, left_);
        input.release_if_empty();
    } else {
        const Io io = socket.read(out, static_cast<std::size_t>(std::min<std::uint64_t>(most, left_)));
        if (io.state != IoState::done) {
            return verdict(io);
        }
        n = io.bytes;
        received_ += n;
    }
    left_ -= n;
    complete_ = left_ == 0;
    return Pull::progress;
}

BodyReader::Pull BodyReader::pull_to_close(Socket& socket, Input& input, Chain& out, std::size_t most)
{
    if (!input.empty()) {
        slice_input(input, out, most);
        input.release_if_empty();
        return Pull::progress;
    }
    const Io io = socket.read(out, most);
    if (io.state == IoState::end) {
        complete_ = true;
        return Pull::progress;
    }
    received_ += io.bytes;
    return verdict(io);
}

BodyReader::Pull BodyReader::pull_chunked(Socket& socket, Input& input, Chain& out, std::size_t most)
{
    if (input.empty()) {
        const Io io = input.fill(socket, kBlockBytes);
        if (io.state != IoState::done) {
            release(input);
            return verdict(io);
        }
        received_ += io.bytes;
    }
    const std::size_t before = out.bytes();
    while (out.bytes() - before < most) {
        const http::ChunkedDecoder::Next next = chunks_.next(input.unread());
        if (next.step == http::ChunkedDecoder::Step::data) {
            out.append_part(input.block(), next.data);
        }
        input.consume(next.used);
        if (next.step == http::ChunkedDecoder::Step::refused) {
            return Pull::refused;
        }
        if (next.step == http::ChunkedDecoder::Step::end) {
            complete_ = true;
            break;
        }
        if (next.step == http::ChunkedDecoder::Step::more) {
            break;
        }
    }
    release(input);
    return Pull::progress;
}

/// A block that slices of the body hold anyway is filled to its end: else many small chunks would hold a block each.
void BodyReader::release(Input& input) const noexcept
{
    if (complete_ || !input.is_shared()) {
        input.release_if_empty();
    }
}

} // namespace ladle::worker
