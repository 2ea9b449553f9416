// SPDX-License-Identifier: Apache-2.0
#include "master/demo/origin.h"

#include "master/demo/websocket.h"

#include <fmt/format.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <utility>

namespace ladle::master::cli {

namespace {

constexpr std::size_t kMaxHead = 64 * 1024;
constexpr std::size_t kMaxBody = 1 << 20;

constexpr std::string_view kPage = R"html(<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Ladle demo</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}}
code{{background:#eee;padding:.1em .3em}}
#log{{white-space:pre;background:#f6f6f6;padding:1em;min-height:4em}}</style>
<img src="/picture.svg" width="96" height="96" alt="a ladle">
<h1>Hello from server {0}</h1>
<p>This page came through Ladle. Reload it: the two servers take turns.</p>
<ul><li><a href="/slow">/slow</a> answers after three seconds
<li><a href="/ticks">/ticks</a> is an event stream
<li><a href="/headers">/headers</a> shows what the server was asked</ul>
<h2>WebSocket echo</h2>
<form id="f"><input id="m" value="hello"> <button>send</button></form><div id="log"></div>
<script>
const log = t => document.getElementById("log").textContent += t + "\n";
const ws = new WebSocket(location.origin.replace("http", "ws") + "/ws");
ws.onopen = () => log("connected"); ws.onclose = () => log("closed"); ws.onmessage = e => log("echo: " + e.data);
document.getElementById("f").onsubmit = e => {{ e.preventDefault(); ws.send(document.getElementById("m").value); }};
</script></html>
)html";

constexpr std::string_view kPicture = R"svg(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96">
<rect width="96" height="96" rx="20" fill="#20639b"/>
<path d="M70 14 L46 50" stroke="#fff" stroke-width="7" stroke-linecap="round"/>
<path d="M16 50 a22 22 0 0 0 44 0 z" fill="#fff"/>
<path d="M24 80 q6 -6 12 0 t12 0 t12 0" stroke="#9fd3ff" stroke-width="5" fill="none" stroke-linecap="round"/>
</svg>
)svg";

struct Request {
    std::string head;
    std::string path;
    std::string body;
};

/// The value of a field, or empty. The demo trusts the proxy to send well-formed heads.
std::string field(const std::string& head, std::string_view name)
{
    std::size_t at = 0;
    while ((at = head.find("\r\n", at)) != std::string::npos) {
        at += 2;
        const std::size_t end = head.find("\r\n", at);
        const std::string line = head.substr(at, end - at);
        const bool is_it =
            line.size() > name.size() && line[name.size()] == ':' &&
            std::equal(name.begin(), name.end(), line.begin(), [](char a, char b) { return std::tolower(a) == std::tolower(b); });
        if (is_it) {
            const std::size_t start = line.find_first_not_of(' ', name.size() + 1);
            return start == std::string::npos ? "" : line.substr(start);
        }
    }
    return "";
}

bool send_all(int socket, std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

bool answer(int socket, std::string_view type, std::string_view body)
{
    return send_all(socket,
                    fmt::format("HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}", type, body.size(), body));
}

/// Reads one request off the connection; `input` keeps what is left over.
bool receive_request(int socket, std::string& input, Request& request)
{
    char block[8192];
    std::size_t end = std::string::npos;
    std::size_t length = 0;
    for (;;) {
        if (end == std::string::npos && (end = input.find("\r\n\r\n")) != std::string::npos) {
            request.head = input.substr(0, end + 2);
            length = std::strtoul(field(request.head, "Content-Length").c_str(), nullptr, 10);
            if (length > kMaxBody || !field(request.head, "Transfer-Encoding").empty()) {
                return false;
            }
        }
        if (end != std::string::npos && input.size() >= end + 4 + length) {
            break;
        }
        const ssize_t n = ::recv(socket, block, sizeof block, 0);
        if (n <= 0 || input.size() > kMaxHead + kMaxBody) {
            return false;
        }
        input.append(block, static_cast<std::size_t>(n));
    }
    const std::size_t from = request.head.find(' ') + 1;
    request.path = request.head.substr(from, request.head.find_first_of(" ?", from) - from);
    request.body = input.substr(end + 4, length);
    input.erase(0, end + 4 + length);
    return true;
}

bool send_ticks(int socket)
{
    if (!send_all(socket, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")) {
        return false;
    }
    for (int i = 1; i <= 10; ++i) {
        const std::string event = fmt::format("data: tick {}\n\n", i);
        if (!send_all(socket, fmt::format("{:x}\r\n{}\r\n", event.size(), event))) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    return send_all(socket, "0\r\n\r\n");
}

/// Serves one request; false = the connection ends.
bool serve(int socket, const std::string& name, const Request& request, std::string& rest)
{
    const std::string text = "text/plain; charset=utf-8";
    if (request.path == "/") {
        return answer(socket, "text/html; charset=utf-8", fmt::format(kPage, name));
    }
    if (request.path == "/picture.svg") {
        return answer(socket, "image/svg+xml", kPicture);
    }
    if (request.path == "/slow") {
        std::this_thread::sleep_for(std::chrono::seconds(3));
        return answer(socket, text, fmt::format("that took server {} three seconds\n", name));
    }
    if (request.path == "/ticks") {
        return send_ticks(socket);
    }
    if (request.path == "/headers") {
        return answer(socket, text, fmt::format("server {} was asked:\n\n{}\n{}", name, request.head, request.body));
    }
    const std::string key = field(request.head, "Sec-WebSocket-Key");
    if (request.path == "/ws" && !key.empty()) {
        if (send_all(socket, fmt::format("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                         "Sec-WebSocket-Accept: {}\r\n\r\n",
                                         websocket_accept(key)))) {
            echo_websocket(socket, std::move(rest));
        }
        return false;
    }
    const std::string page = "there is nothing here: try /\n";
    return send_all(
        socket, fmt::format("HTTP/1.1 404 Not Found\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}", text, page.size(), page));
}

void serve_connection(os::Fd socket, const std::string& name)
{
    const int one = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    std::string input;
    Request request;
    while (receive_request(socket.get(), input, request) && serve(socket.get(), name, request, input)) {
    }
}

} // namespace

void serve_origin(os::Fd listener, const std::string& name)
{
    for (;;) {
        os::Fd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!socket) {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            continue;
        }
        std::thread([connection = std::move(socket), name]() mutable { serve_connection(std::move(connection), name); }).detach();
    }
}

} // namespace ladle::master::cli
