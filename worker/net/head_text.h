// SPDX-License-Identifier: Apache-2.0
//
// HeadText: builds a message head in one block, without a check per byte: say first how large it may become.
#pragma once

#include "worker/net/blocks.h"

#include "common/base/assert.h"

#include <charconv>
#include <cstdint>
#include <string_view>

namespace ladle::worker {

class HeadText {
public:
    /// `most`: no less than what will be added.
    HeadText(Chain& chain, std::size_t most) : chain_(chain), most_(most)
    {
        begin_ = at_ = chain.room(most).first;
    }
    HeadText& operator<<(std::string_view text) noexcept
    {
        at_ += text.copy(at_, text.size()); // an empty view may be null
        return *this;
    }
    HeadText& operator<<(std::uint64_t number) noexcept
    {
        at_ = std::to_chars(at_, at_ + 20, number).ptr;
        return *this;
    }
    HeadText& field(std::string_view name, std::string_view value) noexcept { return *this << name << ": " << value << "\r\n"; }
    /// Ends the head with the empty line and hands it to the chain.
    void finish() noexcept
    {
        *this << "\r\n";
        const auto size = static_cast<std::size_t>(at_ - begin_);
        LADLE_ASSERT(size <= most_);
        chain_.filled(size);
    }

    /// What has been added. Without finish() the chain knows nothing of it, and its next use of that room overwrites it.
    std::string_view written() const noexcept { return {begin_, static_cast<std::size_t>(at_ - begin_)}; }

private:
    Chain& chain_;
    std::size_t most_;
    char* begin_;
    char* at_;
};

} // namespace ladle::worker
