// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/h2_server_stream.h"

#include "worker/upstream/h2_server_connection.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kMostHeads = 18;         // that wait: more interim responses than receive() takes
constexpr std::size_t kSliceFrom = 4 << 10;    // less is copied: a slice holds the whole block that it was received in
constexpr std::uint64_t kWideServerAfter = 64 << 10; // of a body taken: its server may send more at once

} // namespace

H2ServerStream::H2ServerStream(H2ServerConnection& connection, Chain& head_room, loop::Loop& loop, std::size_t head_bytes)
    : ServerStream(head_room), connection_(&connection), loop_(loop), gathered_(head_bytes)
{
}

H2ServerStream::~H2ServerStream()
{
    if (connection_ != nullptr) {
        connection_->forget(*this);
    }
}

void H2ServerStream::finish_head(Coding coding)
{
    coding_ = coding;
    is_ended_ = coding == Coding::none;
    if (connection_ != nullptr) {
        connection_->submit(*this, coding);
    }
}

void H2ServerStream::finish_body(std::string trailers)
{
    request_trailers = std::move(trailers);
    is_ended_ = true;
}

Io H2ServerStream::flush()
{
    if (is_closed()) {
        out.clear();
        return {has_ended_ && code_ == NGHTTP2_NO_ERROR ? IoState::done : IoState::failed, 0, 0};
    }
    const std::size_t before = out.bytes();
    is_pushing = true;
    connection_->push(*this);
    is_pushing = false;
    const std::size_t sent = before - out.bytes();
    if (out.empty()) {
        out.clear(); // a stream that waits holds no block
    }
    return {sent > 0 ? IoState::done : IoState::would_block, sent, 0};
}

HeadStep H2ServerStream::receive_head(http::ResponseHead& head, const http::HeadLimits& limits)
{
    if (!heads_.empty()) {
        const Block& block = *heads_.front();
        // What was added to say it in HTTP/1 must not count against the server.
        const http::HeadLimits enough{std::max<std::size_t>(limits.head_bytes, block.used), limits.target_bytes};
        head.clear();
        const http::Progress progress = head.parse({block.data, block.used}, enough);
        return progress == http::Progress::complete ? HeadStep::complete : HeadStep::refused;
    }
    if (is_malformed_) {
        detail_ = detail_.empty() ? std::string_view("malformed fields") : detail_;
        return HeadStep::refused;
    }
    if (!is_closed()) {
        return HeadStep::blocked;
    }
    if (code_ == NGHTTP2_REFUSED_STREAM && !has_begun_) {
        return HeadStep::unprocessed;
    }
    return has_begun_ ? HeadStep::cut : HeadStep::ended;
}

BlockRef H2ServerStream::take_head(const http::ResponseHead&)
{
    BlockRef block = std::move(heads_.front());
    heads_.erase(heads_.begin());
    return block;
}

void H2ServerStream::on_timeout() noexcept
{
    if (connection_ != nullptr) {
        connection_->on_timeout(*this);
    }
}

BodyReader::Pull H2ServerStream::pull_body(BodyReader& body, Chain& into, std::size_t most)
{
    if (body.is_complete()) {
        return BodyReader::Pull::complete;
    }
    const std::size_t taken = incoming_.move_to(into, most);
    body.take(taken);
    taken_ += taken;
    if (taken > 0 && !is_closed() && !has_ended_) {
        if (taken_ > kWideServerAfter && !std::exchange(has_wide_window_, true)) {
            connection_->widen_window(*this);
        }
        connection_->took(*this, taken);
    }
    if (!incoming_.empty()) {
        return BodyReader::Pull::progress;
    }
    incoming_.clear(); // a stream that waits holds no block
    if (has_ended_) {
        return body.end(trailers_) ? BodyReader::Pull::progress : BodyReader::Pull::refused;
    }
    if (taken == 0 && is_closed()) {
        return is_malformed_ ? BodyReader::Pull::refused : BodyReader::Pull::cut;
    }
    return taken > 0 ? BodyReader::Pull::progress : BodyReader::Pull::blocked;
}

void H2ServerStream::begin_head() noexcept
{
    gathered_.clear();
    has_begun_ = true;
}

void H2ServerStream::add_field(std::string_view name, std::string_view value)
{
    if (!is_answered_) {
        gathered_.add(name, value);
    } else if (trailers_.size() <= http::ChunkedDecoder::kMaxTrailers) { // more than that BodyReader::end() refuses
        trailers_.append(name).append(": ").append(value).append("\r\n");
        is_malformed_ = is_malformed_ || name.starts_with(':');
    }
}

bool H2ServerStream::end_head()
{
    has_begun_ = false;
    post_news();
    if (is_answered_) {
        return !is_malformed_;
    }
    const H2ResponseHead::Fault fault = gathered_.fault();
    if (fault != H2ResponseHead::Fault::none || heads_.size() >= kMostHeads) {
        detail_ = fault == H2ResponseHead::Fault::too_large  ? "too large"
                  : fault == H2ResponseHead::Fault::malformed ? "malformed fields"
                                                              : "too many interim responses";
        is_malformed_ = true;
        return false;
    }
    is_answered_ = !gathered_.is_interim();
    heads_.push_back(gathered_.write(has_ended_ ? H2ResponseHead::Rest::nothing : H2ResponseHead::Rest::body,
                                     is_for_head ? H2ResponseHead::Asked::for_head : H2ResponseHead::Asked::for_all));
    return true;
}

void H2ServerStream::add_body(const BlockRef& block, std::string_view part)
{
    if (part.size() >= kSliceFrom) {
        incoming_.append_part(block, part);
    } else {
        incoming_.append_copy(part);
    }
    post_news();
}

void H2ServerStream::on_response_end() noexcept
{
    has_ended_ = true;
    post_news();
}

void H2ServerStream::on_closed(std::uint32_t code) noexcept
{
    is_closed_ = true;
    code_ = code;
    post_news();
}

void H2ServerStream::detach() noexcept
{
    connection_ = nullptr;
    code_ = is_closed_ ? code_ : static_cast<std::uint32_t>(NGHTTP2_INTERNAL_ERROR);
    unlink();
    post_news();
}

void H2ServerStream::post_news() noexcept
{
    if (news_ != nullptr) {
        news_->post(loop_);
    }
}

} // namespace ladle::worker
