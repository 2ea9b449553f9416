// SPDX-License-Identifier: Apache-2.0
#include "master/demo/websocket.h"

#include <sys/socket.h>

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

namespace ladle::master::cli {

namespace {

constexpr std::size_t kMaxPayload = 1 << 20;

std::uint32_t word_at(const std::vector<std::uint8_t>& bytes, std::size_t at)
{
    return static_cast<std::uint32_t>(bytes[at]) << 24 | static_cast<std::uint32_t>(bytes[at + 1]) << 16 |
           static_cast<std::uint32_t>(bytes[at + 2]) << 8 | bytes[at + 3];
}

void mix_block(std::array<std::uint32_t, 5>& h, const std::vector<std::uint8_t>& bytes, std::size_t at)
{
    std::array<std::uint32_t, 80> w{};
    for (std::size_t i = 0; i < 80; ++i) {
        w[i] = i < 16 ? word_at(bytes, at + i * 4) : std::rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    auto [a, b, c, d, e] = h;
    for (std::size_t i = 0; i < 80; ++i) {
        const std::uint32_t f = i < 20 ? ((b & c) | (~b & d)) : i < 40 || i >= 60 ? (b ^ c ^ d) : ((b & c) | (b & d) | (c & d));
        constexpr std::array<std::uint32_t, 4> kRound = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
        const std::uint32_t next = std::rotl(a, 5) + f + e + kRound[i / 20] + w[i];
        e = d;
        d = c;
        c = std::rotl(b, 30);
        b = a;
        a = next;
    }
    h = {h[0] + a, h[1] + b, h[2] + c, h[3] + d, h[4] + e};
}

/// SHA-1, which the handshake needs and nothing else here.
std::array<std::uint8_t, 20> sha1(std::string_view text)
{
    std::vector<std::uint8_t> bytes(text.begin(), text.end());
    bytes.push_back(0x80);
    while (bytes.size() % 64 != 56) {
        bytes.push_back(0);
    }
    const std::uint64_t bits = text.size() * 8;
    for (int shift = 56; shift >= 0; shift -= 8) {
        bytes.push_back(static_cast<std::uint8_t>(bits >> shift));
    }
    std::array<std::uint32_t, 5> h = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    for (std::size_t at = 0; at < bytes.size(); at += 64) {
        mix_block(h, bytes, at);
    }
    std::array<std::uint8_t, 20> out{};
    for (std::size_t i = 0; i < 20; ++i) {
        out[i] = static_cast<std::uint8_t>(h[i / 4] >> (24 - 8 * (i % 4)));
    }
    return out;
}

std::string base64(const std::array<std::uint8_t, 20>& bytes)
{
    constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = static_cast<std::uint32_t>(bytes[i]) << 16;
        group |= i + 1 < bytes.size() ? static_cast<std::uint32_t>(bytes[i + 1]) << 8 : 0u;
        group |= i + 2 < bytes.size() ? static_cast<std::uint32_t>(bytes[i + 2]) : 0u;
        for (std::size_t k = 0; k < 4; ++k) {
            out += i + k <= bytes.size() ? kLetters[(group >> (18 - 6 * k)) & 63u] : '=';
        }
    }
    return out;
}

/// Makes `input` at least `bytes` long; false when the peer is gone.
bool receive_at_least(int socket, std::string& input, std::size_t bytes)
{
    char block[4096];
    while (input.size() < bytes) {
        const ssize_t n = ::recv(socket, block, sizeof block, 0);
        if (n <= 0) {
            return false;
        }
        input.append(block, static_cast<std::size_t>(n));
    }
    return true;
}

struct Frame {
    std::uint8_t first = 0; ///< FIN and opcode
    std::string payload;
};

/// Takes one masked frame off `input`; false when the peer is gone or breaks the rules.
bool receive_frame(int socket, std::string& input, Frame& frame)
{
    if (!receive_at_least(socket, input, 2)) {
        return false;
    }
    const auto byte = [&input](std::size_t i) { return static_cast<std::uint8_t>(input[i]); };
    std::uint64_t length = byte(1) & 0x7fu;
    const bool is_masked = (byte(1) & 0x80u) != 0;
    const std::size_t more = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (!is_masked || !receive_at_least(socket, input, 2 + more + 4)) {
        return false;
    }
    if (more != 0) {
        length = 0;
        for (std::size_t i = 0; i < more; ++i) {
            length = length << 8 | byte(2 + i);
        }
    }
    const std::size_t head = 2 + more + 4;
    if (length > kMaxPayload || !receive_at_least(socket, input, head + length)) {
        return false;
    }
    frame.first = byte(0);
    frame.payload = input.substr(head, length);
    for (std::size_t i = 0; i < length; ++i) {
        frame.payload[i] = static_cast<char>(frame.payload[i] ^ input[head - 4 + i % 4]);
    }
    input.erase(0, head + length);
    return true;
}

bool send_frame(int socket, std::uint8_t first, const std::string& payload)
{
    std::string out(1, static_cast<char>(first));
    const std::size_t length = payload.size();
    if (length < 126) {
        out += static_cast<char>(length);
    } else if (length < 65536) {
        out += static_cast<char>(126);
        out += static_cast<char>(length >> 8);
        out += static_cast<char>(length);
    } else {
        out += static_cast<char>(127);
        for (int shift = 56; shift >= 0; shift -= 8) {
            out += static_cast<char>(static_cast<std::uint64_t>(length) >> shift);
        }
    }
    out += payload;
    return ::send(socket, out.data(), out.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(out.size());
}

} // namespace

std::string websocket_accept(std::string_view key)
{
    return base64(sha1(std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
}

void echo_websocket(int socket, std::string early)
{
    constexpr std::uint8_t kClose = 8;
    constexpr std::uint8_t kPing = 9;
    constexpr std::uint8_t kPong = 10;
    Frame frame;
    while (receive_frame(socket, early, frame)) {
        const std::uint8_t opcode = frame.first & 0x0fu;
        if (opcode == kPong) {
            continue;
        }
        const auto reply = opcode == kPing ? static_cast<std::uint8_t>(0x80u | kPong) : frame.first;
        if (!send_frame(socket, reply, frame.payload) || opcode == kClose) {
            return;
        }
    }
}

} // namespace ladle::master::cli
