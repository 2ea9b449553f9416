// SPDX-License-Identifier: Apache-2.0
#include "worker/response/answer.h"

#include "common/http/status.h"
#include "worker/response/response_writer.h"

#include <string>
#include <string_view>

namespace ladle::worker {

namespace {

constexpr std::string_view kBuiltInPage =
    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
    "<title>{status} {reason}</title>\n<style>body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fafafa;display:grid;"
    "place-content:center;min-height:90vh;text-align:center}h1{font-size:3rem;margin:0}small{color:#777}</style>\n"
    "<h1>{status}</h1><p>{reason}</p><small>{request_id}</small>\n</html>\n";

/// The page with its placeholders filled in. What is filled in is ours or a checked token: nothing needs escaping.
std::string fill_page(std::string_view page, std::uint16_t status, std::string_view id)
{
    std::string filled;
    filled.reserve(page.size() + 64);
    while (!page.empty()) {
        const std::size_t brace = page.find('{');
        filled += page.substr(0, brace);
        page = brace == std::string_view::npos ? std::string_view{} : page.substr(brace);
        if (page.starts_with("{status}")) {
            filled += std::to_string(status);
            page.remove_prefix(8);
        } else if (page.starts_with("{reason}")) {
            filled += http::reason_phrase(status);
            page.remove_prefix(8);
        } else if (page.starts_with("{request_id}")) {
            filled += id;
            page.remove_prefix(12);
        } else if (!page.empty()) {
            filled += page.front();
            page.remove_prefix(1);
        }
    }
    return filled;
}

std::string_view find_page(const Request& request, std::uint16_t status)
{
    const config::Config& config = *request.live->config;
    const std::size_t set = request.site != nullptr ? request.site->error_pages : 0;
    const std::string* page = config::find_error_page(config.error_page_sets[set], status);
    if (page != nullptr) {
        return *page;
    }
    return kBuiltInPage;
}

loop::Task<void> send_out(Request& request)
{
    ClientStream& client = request.client;
    client.alarm.set(request.timeouts().stall);
    while (client.flush() && !client.is_flushed()) {
        const std::size_t before = client.out.bytes();
        co_await client.wake.wait();
        if (client.alarm.rang()) {
            request.reason = Reason::client_stalled;
            request.after = After::abort;
            client.out.clear();
        } else if (client.out.bytes() != before) {
            client.alarm.set(request.timeouts().stall);
        }
    }
    if (client.is_gone) {
        request.reason = request.reason == Reason::ok ? Reason::client_left : request.reason;
        request.after = After::abort;
    }
}

void leave_body_unread(Request& request) noexcept
{
    if (request.framing.kind != http::BodyKind::none &&
        !(request.framing.kind == http::BodyKind::length && request.framing.length == 0)) {
        request.after = After::close;
    }
}

/// Whether the bytes that follow on the connection can still be told apart.
bool leaves_framing_in_doubt(Reason reason) noexcept
{
    switch (reason) {
    case Reason::bad_request:
    case Reason::bad_framing:
    case Reason::bad_host:
    case Reason::bad_chunk:
    case Reason::bad_version:
    case Reason::target_too_long:
    case Reason::head_too_large:
    case Reason::head_timeout:
    case Reason::body_timeout:
    case Reason::expectation_failed:
    case Reason::method_not_allowed:
        return true;
    default:
        return false;
    }
}

} // namespace

loop::Task<void> answer_error(Request& request, Answer answer)
{
    request.reason = answer.reason;
    request.retry_after_s = answer.retry_after_s;
    const bool body_unread = request.framing.kind != http::BodyKind::none && (!request.body || !request.client.body.is_complete());
    if (leaves_framing_in_doubt(answer.reason) || body_unread) {
        request.after = After::close;
    }
    if (answer.reason == Reason::client_left) {
        request.status = answer.status;
        request.after = After::abort;
        co_return;
    }
    if (is_grpc_over_h2(request)) {
        write_grpc_error(request, answer.status);
        co_return co_await send_out(request);
    }
    const std::string page = fill_page(find_page(request, answer.status), answer.status, request.id);
    write_answer(request, answer.status, "text/html; charset=utf-8", page);
    co_await send_out(request);
}

loop::Task<void> answer_fixed(Request& request)
{
    const config::Respond& respond = *request.route->respond;
    leave_body_unread(request);
    write_answer(request, respond.status, respond.content_type, respond.body);
    co_await send_out(request);
}

loop::Task<void> answer_redirect(Request& request)
{
    leave_body_unread(request);
    write_answer(request, request.redirect_status, "text/plain; charset=utf-8", request.redirect);
    co_await send_out(request);
}

loop::Task<void> answer_text(Request& request, std::uint16_t status, std::string_view text)
{
    leave_body_unread(request);
    write_answer(request, status, "text/plain; charset=utf-8", text);
    co_await send_out(request);
}

} // namespace ladle::worker
