// SPDX-License-Identifier: Apache-2.0
// What an HTTP/2 client sends, through a worker's own front: sessions, nghttp2, exchanges, a server that is not there. What comes
// back is whole frames with header blocks that can be read, and when the client has gone nothing of it is left.
//
//   input: mode, cut, bytes      mode & 1: the bytes are frames in short: type, flags, stream, length, payload; else as they stand
//                                mode & 2: without the preface, as the very first bytes
#include "tests/fuzz/stage.h"
#include "worker/client/front.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>

using namespace ladle;
using namespace ladle::worker;

namespace {

constexpr const char* kSites = R"~(
[defence]
http2 = { streams = 8 }
[upstream.gone]
servers = ["unix:/nowhere/ladle-fuzz"]
[site."*"]
listen = "http://127.0.0.1:80"
[[site."*".route]]
path = "/up/*"
upstream = "gone"
[[site."*".route]]
path = "/streamed/*"
upstream = "gone"
buffer = { request = "stream" }
[[site."*".route]]
path = "/*"
respond = { status = 200, body = "hello" }
)~";
constexpr std::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
constexpr std::size_t kFrameHead = 9;

struct Scene : Stage {
    std::unique_ptr<Front> front;
    std::uint64_t buffers = 0; ///< bytes that are held while there is no connection
    Scene()
    {
        row().pid.store(1);
        row().role.store(shm::Role::worker);
        const auto config = load_good(kSites);
        const config::Upstream& gone = config->upstreams.front();
        REQUIRE(shm::find_or_assign_server(arena.regions().servers, gone.name, gone.servers.front().text) >= 0);
        FrontParts parts{*loop, arena, 0, os::Fd{}, os::Fd{}, nullptr, os::Fd{}, {}, nullptr, os::Fd{}};
        front = std::move(*Front::make(std::move(parts), config));
        loop->set_tick([](void* self) { static_cast<Scene*>(self)->front->on_tick(); }, this);
        run(2);
        buffers = row().value(shm::Metric::buffer_bytes);
    }
};

/// Frames with their lengths filled in.
std::string expand(std::string_view input)
{
    std::string frames;
    while (input.size() >= 4) {
        const std::size_t length = std::min<std::size_t>(static_cast<unsigned char>(input[3]), input.size() - 4);
        frames += {'\0', '\0', static_cast<char>(length), input[0], input[1], '\0', '\0', '\0', input[2]};
        frames += input.substr(4, length);
        input.remove_prefix(4 + length);
    }
    return frames;
}

/// Every frame but a last one that was cut with the connection.
void check_answer(std::string_view answer)
{
    nghttp2_hd_inflater* inflater = nullptr;
    REQUIRE(nghttp2_hd_inflate_new(&inflater) == 0);
    bool is_first = true;
    while (answer.size() >= kFrameHead) {
        const auto* head = reinterpret_cast<const std::uint8_t*>(answer.data());
        const std::size_t length = head[0] * 65536u + head[1] * 256u + head[2];
        REQUIRE(length <= 16384);
        REQUIRE(!is_first || head[3] == NGHTTP2_SETTINGS);
        is_first = false;
        if (answer.size() < kFrameHead + length) {
            break;
        }
        std::string_view block = answer.substr(kFrameHead, head[3] == NGHTTP2_HEADERS ? length : 0);
        REQUIRE(head[3] != NGHTTP2_HEADERS || (head[4] & (NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_PRIORITY)) == 0);
        for (bool is_open = !block.empty(); is_open;) {
            nghttp2_nv field{};
            int flags = 0;
            const ssize_t n = nghttp2_hd_inflate_hd2(inflater, &field, &flags, reinterpret_cast<const std::uint8_t*>(block.data()),
                                                     block.size(), 1);
            REQUIRE(n >= 0);
            block.remove_prefix(static_cast<std::size_t>(n));
            is_open = (flags & NGHTTP2_HD_INFLATE_FINAL) == 0;
            REQUIRE(!is_open || (flags & NGHTTP2_HD_INFLATE_EMIT) != 0);
        }
        if (head[3] == NGHTTP2_HEADERS) {
            nghttp2_hd_inflate_end_headers(inflater);
        }
        answer.remove_prefix(kFrameHead + length);
    }
    nghttp2_hd_inflate_del(inflater);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    static Scene scene;
    const auto input = CutInput::read(bytes, size);
    if (!input) {
        return 0;
    }
    const bool is_raw = (input->mode & 2) != 0;
    const std::string text = std::string(is_raw ? std::string_view{} : kPreface) +
                             ((input->mode & 1) != 0 ? expand(input->bytes) : std::string(input->bytes));
    const std::size_t cut = std::min(text.size(), input->cut * 4);
    std::string answer;
    {
        Ends ends;
        sockaddr_storage peer{};
        peer.ss_family = AF_UNIX;
        scene.front->adopt_connection(std::move(ends.worker), peer, "127.0.0.1:80");
        for (const std::string_view piece : {std::string_view(text).substr(0, cut), std::string_view(text).substr(cut)}) {
            ends.send(piece);
            scene.run(8);
            REQUIRE(scene.row().value(shm::Metric::requests_in_flight) <= 8);
            ends.receive(answer);
        }
    }
    for (int tries = 0; scene.front->connection_count() > 0; ++tries) {
        REQUIRE(tries < 100);
        scene.run(8);
    }
    scene.run(2);
    REQUIRE(scene.row().value(shm::Metric::connections_open) == 0);
    REQUIRE(scene.row().value(shm::Metric::requests_in_flight) == 0);
    REQUIRE(scene.row().value(shm::Metric::buffer_bytes) == scene.buffers);
    if (!is_raw) {
        check_answer(answer);
    }
    return 0;
}
