// SPDX-License-Identifier: Apache-2.0
#include "common/http/chunked.h"

#include <algorithm>
#include <cstring>

namespace ladle::http {

namespace {

/// chunk-ext without BWS: *( ";" token [ "=" ( token / quoted-string ) ] ).
bool is_extension(std::string_view text) noexcept
{
    while (!text.empty()) {
        if (text.front() != ';') {
            return false;
        }
        text.remove_prefix(1);
        std::size_t n = 0;
        while (n < text.size() && is_class(text[n], kToken)) {
            ++n;
        }
        if (n == 0) {
            return false;
        }
        text.remove_prefix(n);
        if (text.empty() || text.front() != '=') {
            continue;
        }
        text.remove_prefix(1);
        n = 0;
        if (!text.empty() && text.front() == '"') {
            for (n = 1; n < text.size() && text[n] != '"'; ++n) {
                n += text[n] == '\\' ? 1u : 0u;
            }
            if (n >= text.size()) {
                return false;
            }
            ++n;
        } else {
            while (n < text.size() && is_class(text[n], kToken)) {
                ++n;
            }
        }
        if (n == 0) {
            return false;
        }
        text.remove_prefix(n);
    }
    return true;
}

} // namespace

ChunkedDecoder::Next ChunkedDecoder::refuse() noexcept
{
    state_ = State::refused;
    return {Step::refused, 0, {}};
}

bool ChunkedDecoder::parse_size_line(std::string_view line)
{
    std::size_t digits = 0;
    std::uint64_t size = 0;
    while (digits < line.size() && is_class(line[digits], kHexDigit)) {
        if (digits == 16 || size > (UINT64_MAX >> 5)) {
            return false;
        }
        size = size * 16 + hex_value(line[digits]);
        ++digits;
    }
    const std::string_view extension = line.substr(digits);
    extensions_ += extension.size();
    if (digits == 0 || extensions_ > kMaxExtensions || !is_field_value(extension) || !is_extension(extension)) {
        return false;
    }
    left_ = size;
    return true;
}

/// Reads one line of the size or trailer kind; the usual case, a whole line in the input, copies nothing of a size line.
ChunkedDecoder::Next ChunkedDecoder::read_line(std::string_view input)
{
    const bool in_trailers = state_ == State::trailers;
    const std::size_t limit = in_trailers ? kMaxTrailers : kMaxLine;
    const auto* feed = static_cast<const char*>(std::memchr(input.data(), '\n', input.size()));
    const std::size_t taken = feed == nullptr ? input.size() : static_cast<std::size_t>(feed - input.data()) + 1;
    if (line_.size() + taken > limit) {
        return refuse();
    }
    if (feed == nullptr || in_trailers || !line_.empty()) {
        line_.append(input.substr(0, taken));
        if (feed == nullptr) {
            // A size line that is already wrong need not be waited for.
            return !in_trailers && !is_class(line_.front(), kHexDigit) ? refuse() : Next{Step::more, taken, {}};
        }
    }
    const std::string_view whole = line_.empty() ? input.substr(0, taken) : std::string_view(line_).substr(line_start_);
    if (whole.size() < 2 || whole[whole.size() - 2] != '\r') {
        return refuse();
    }
    const std::string_view line = whole.substr(0, whole.size() - 2);
    if (in_trailers) {
        line_start_ = line_.size();
        if (line.empty()) {
            state_ = State::end;
            return {Step::end, taken, {}};
        }
        return {Step::data, taken, {}};
    }
    if (!parse_size_line(line)) {
        return refuse();
    }
    line_.clear();
    state_ = left_ == 0 ? State::trailers : State::data;
    return {Step::data, taken, {}};
}

ChunkedDecoder::Next ChunkedDecoder::read_data_end(std::string_view input)
{
    std::size_t used = 0;
    while (used < input.size() && end_seen_ < 2) {
        if (input[used] != "\r\n"[end_seen_]) {
            return refuse();
        }
        ++used;
        ++end_seen_;
    }
    if (end_seen_ == 2) {
        end_seen_ = 0;
        state_ = State::size_line;
        return {Step::data, used, {}};
    }
    return {Step::more, used, {}};
}

ChunkedDecoder::Next ChunkedDecoder::next(std::string_view input)
{
    std::size_t used = 0;
    for (;;) {
        if (state_ == State::end) {
            return {Step::end, used, {}};
        }
        if (state_ == State::refused) {
            return {Step::refused, used, {}};
        }
        if (used == input.size()) {
            return {Step::more, used, {}};
        }
        const std::string_view rest = input.substr(used);
        if (state_ == State::data) {
            const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, rest.size()));
            left_ -= n;
            if (left_ == 0) {
                state_ = State::data_end;
            }
            return {Step::data, used + n, rest.substr(0, n)};
        }
        const Next step = state_ == State::data_end ? read_data_end(rest) : read_line(rest);
        used += step.used;
        if (step.step != Step::data) {
            return {step.step, used, {}};
        }
    }
}

bool ChunkedDecoder::parse_trailers(Fields& fields) const
{
    fields.clear();
    fields.rebase(line_.data());
    std::size_t position = 0;
    HeadError error = HeadError::none;
    return parse_field_lines(line_, position, fields, error) == Progress::complete;
}

} // namespace ladle::http
