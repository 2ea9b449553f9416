// SPDX-License-Identifier: Apache-2.0
//
// Decoder of the chunked coding (RFC 9112 §7.1): strict, incremental, linear, no copies of data. Chunk extensions are checked and
// dropped; trailers are kept (bounded) for the caller to parse. Pure.
#pragma once

#include "common/http/head.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::http {

class ChunkedDecoder {
public:
    enum class Step : std::uint8_t {
        data,    ///< `data` holds body bytes (places in the input)
        more,    ///< all input used, more is needed
        end,     ///< body and trailers are complete
        refused, ///< not the chunked coding: the connection's framing is lost
    };

    struct Next {
        Step step;
        std::size_t used;      ///< bytes of the input that are done with
        std::string_view data; ///< of Step::data
    };

    /// Looks at the front of `input`; call again with what follows until it says more, end or refused.
    Next next(std::string_view input);

    /// The trailer section's bytes, valid at the end: lines with their CRLF, closed by an empty line.
    const std::string& trailer_bytes() const noexcept { return line_; }
    /// Parses the trailers into `fields`; false if one is malformed. `fields` points into this decoder.
    bool parse_trailers(Fields& fields) const;

    static constexpr std::size_t kMaxLine = 4096;          ///< of a chunk-size line, with its extensions
    static constexpr std::size_t kMaxTrailers = 16 << 10;  ///< of the whole trailer section
    static constexpr std::size_t kMaxExtensions = 64 << 10; ///< of all chunk-size lines' extensions in one body

private:
    enum class State : std::uint8_t { size_line, data, data_end, trailers, end, refused };

    Next read_line(std::string_view input);
    bool parse_size_line(std::string_view line);
    Next read_data_end(std::string_view input);
    Next refuse() noexcept;

    State state_ = State::size_line;
    std::uint8_t end_seen_ = 0;   ///< of the CRLF after a chunk's data
    std::uint64_t left_ = 0;      ///< of the current chunk
    std::uint64_t extensions_ = 0;
    std::size_t line_start_ = 0;  ///< of the current line in line_, within the trailers
    std::string line_;            ///< an incomplete size line, then the trailer section
};

} // namespace ladle::http
