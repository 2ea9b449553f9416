// SPDX-License-Identifier: Apache-2.0
//
// The fields (headers or trailers) of one message, as places in the bytes that were received: nothing is copied, and a field is 16
// bytes. Names that the proxy itself looks at are known by number. The bytes belong to the caller and must outlive the use of any
// view; when they move (a buffer grew), rebase() tells the new place.
#pragma once

#include "common/http/grammar.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

// N(identifier, "spelling as sent")
#define LADLE_FIELD_NAMES(N) \
    N(accept, "Accept") \
    N(accept_encoding, "Accept-Encoding") \
    N(accept_language, "Accept-Language") \
    N(accept_ranges, "Accept-Ranges") \
    N(age, "Age") \
    N(allow, "Allow") \
    N(authorization, "Authorization") \
    N(cache_control, "Cache-Control") \
    N(cache_status, "Cache-Status") \
    N(cache_tag, "Cache-Tag") \
    N(cdn_cache_control, "CDN-Cache-Control") \
    N(connection, "Connection") \
    N(content_encoding, "Content-Encoding") \
    N(content_length, "Content-Length") \
    N(content_location, "Content-Location") \
    N(content_range, "Content-Range") \
    N(content_type, "Content-Type") \
    N(cookie, "Cookie") \
    N(date, "Date") \
    N(early_data, "Early-Data") \
    N(etag, "ETag") \
    N(expect, "Expect") \
    N(expires, "Expires") \
    N(forwarded, "Forwarded") \
    N(host, "Host") \
    N(if_match, "If-Match") \
    N(if_modified_since, "If-Modified-Since") \
    N(if_none_match, "If-None-Match") \
    N(if_range, "If-Range") \
    N(if_unmodified_since, "If-Unmodified-Since") \
    N(keep_alive, "Keep-Alive") \
    N(last_modified, "Last-Modified") \
    N(location, "Location") \
    N(max_forwards, "Max-Forwards") \
    N(pragma, "Pragma") \
    N(proxy_authenticate, "Proxy-Authenticate") \
    N(proxy_authentication_info, "Proxy-Authentication-Info") \
    N(proxy_authorization, "Proxy-Authorization") \
    N(proxy_connection, "Proxy-Connection") \
    N(range, "Range") \
    N(referer, "Referer") \
    N(server, "Server") \
    N(set_cookie, "Set-Cookie") \
    N(surrogate_control, "Surrogate-Control") \
    N(surrogate_key, "Surrogate-Key") \
    N(te, "TE") \
    N(trailer, "Trailer") \
    N(transfer_encoding, "Transfer-Encoding") \
    N(upgrade, "Upgrade") \
    N(user_agent, "User-Agent") \
    N(vary, "Vary") \
    N(via, "Via") \
    N(x_forwarded_for, "X-Forwarded-For") \
    N(x_forwarded_host, "X-Forwarded-Host") \
    N(x_forwarded_proto, "X-Forwarded-Proto") \
    N(x_http_method, "X-HTTP-Method") \
    N(x_http_method_override, "X-HTTP-Method-Override") \
    N(x_method_override, "X-Method-Override") \
    N(x_mirrored, "X-Mirrored") \
    N(x_original_url, "X-Original-URL") \
    N(x_request_id, "X-Request-Id") \
    N(x_rewrite_url, "X-Rewrite-URL")

namespace ladle::http {

enum class FieldName : std::uint8_t {
    other,
#define LADLE_FIELD_ENUM(identifier, spelling) identifier,
    LADLE_FIELD_NAMES(LADLE_FIELD_ENUM)
#undef LADLE_FIELD_ENUM
};

/// Fields by which some servers take a request for another one: its method, or its target.
inline constexpr FieldName kOverrides[] = {FieldName::x_http_method, FieldName::x_http_method_override,
                                           FieldName::x_method_override, FieldName::x_original_url, FieldName::x_rewrite_url};

/// The known name that `name` spells, in any case; FieldName::other if it is none.
FieldName find_field_name(std::string_view name) noexcept;

/// One field. Offsets count from the base of the Fields that holds it.
struct Field {
    std::uint32_t name_at;
    std::uint16_t name_length;
    FieldName id;
    bool is_dropped; ///< not to be forwarded (hop-by-hop, or listed in Connection)
    std::uint32_t value_at;
    std::uint32_t value_length;
};

class Fields {
public:
    explicit Fields(std::size_t limit = 100) noexcept : limit_(limit) {}
    Fields(const Fields&) = delete;
    Fields& operator=(const Fields&) = delete;

    enum class Added : std::uint8_t { ok, too_many };
    Added add(const Field& field)
    {
        if (size_ >= limit_) {
            return Added::too_many;
        }
        if (size_ == capacity_) {
            grow();
        }
        fields()[size_++] = field;
        known_ |= std::uint64_t{1} << static_cast<unsigned>(field.id);
        return Added::ok;
    }

    void clear() noexcept
    {
        size_ = 0;
        known_ = 0;
    }
    /// Becomes the same as another of the same limit; the bytes are not copied.
    void assign(const Fields& other)
    {
        clear();
        for (const Field& field : other) {
            add(field);
        }
        base_ = other.base_;
    }
    /// The bytes that all offsets count from.
    void rebase(const char* base) noexcept { base_ = base; }

    std::size_t size() const noexcept { return size_; }
    Field* begin() noexcept { return fields(); }
    Field* end() noexcept { return fields() + size_; }
    const Field* begin() const noexcept { return fields(); }
    const Field* end() const noexcept { return fields() + size_; }

    std::string_view name(const Field& field) const noexcept { return {base_ + field.name_at, field.name_length}; }
    std::string_view value(const Field& field) const noexcept { return {base_ + field.value_at, field.value_length}; }

    /// Whether nothing but one space stands around the value: "Name: value", or "Name:value".
    bool is_plainly_spaced(const Field& field) const noexcept
    {
        const char* before = base_ + field.name_at + field.name_length + 1;
        const char* value = base_ + field.value_at;
        return (value == before || (value == before + 1 && *before == ' ')) && value[field.value_length] == '\r';
    }

    bool has(FieldName id) const noexcept { return (known_ >> static_cast<unsigned>(id) & 1u) != 0; }
    /// The first field of that name, or null.
    const Field* find(FieldName id) const noexcept;
    const Field* find(std::string_view name) const noexcept;
    std::size_t count(FieldName id) const noexcept;
    /// The first one's value, or an empty view.
    std::string_view value_of(FieldName id) const noexcept;
    /// Whether any field of that name, read as a list of tokens, has this element (ASCII, without case).
    bool list_has(FieldName id, std::string_view element) const noexcept;

private:
    static constexpr std::size_t kInline = 24;
    Field* fields() noexcept { return heap_ ? heap_.get() : inline_; }
    const Field* fields() const noexcept { return heap_ ? heap_.get() : inline_; }

    void grow();

    const char* base_ = nullptr;
    std::uint64_t known_ = 0;
    std::size_t size_ = 0;
    std::size_t capacity_ = kInline;
    std::size_t limit_;
    std::unique_ptr<Field[]> heap_;
    Field inline_[kInline];
};

/// The spelling in which a known name is sent ("" for other).
std::string_view spelling(FieldName id) noexcept;

} // namespace ladle::http
