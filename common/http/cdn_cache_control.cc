// SPDX-License-Identifier: Apache-2.0
//
// CDN-Cache-Control (RFC 9213): a dictionary of Structured Fields (RFC 8941 §4.2.2), read strictly: one error anywhere, and the
// field is not there.
#include "common/http/cache_control.h"

namespace ladle::http {

namespace {

enum class ItemType : std::uint8_t { integer, decimal, string, token, bytes, boolean, inner_list };

struct Item {
    ItemType type = ItemType::boolean;
    std::int64_t number = 0; ///< of an integer
    bool is_true = true;     ///< of a boolean
    std::string_view text;   ///< of a string without escapes
};

bool is_key_start(char c) noexcept
{
    return (c >= 'a' && c <= 'z') || c == '*';
}

bool is_key_char(char c) noexcept
{
    return is_key_start(c) || is_class(c, kDigit) || c == '_' || c == '-' || c == '.';
}

bool is_base64(char c) noexcept
{
    return is_class(c, kDigit) || (to_lower(c) >= 'a' && to_lower(c) <= 'z') || c == '+' || c == '/' || c == '=';
}

/// Reads the value of one field line from its beginning; every take_… is false at an error.
class Cursor {
public:
    explicit Cursor(std::string_view text) noexcept : rest_(text) {}

    bool is_at_end() const noexcept { return rest_.empty(); }
    bool skip(char c) noexcept
    {
        if (rest_.empty() || rest_.front() != c) {
            return false;
        }
        rest_.remove_prefix(1);
        return true;
    }
    void skip_spaces() noexcept
    {
        while (skip(' ')) {
        }
    }
    void skip_blanks() noexcept
    {
        while (skip(' ') || skip('\t')) {
        }
    }

    bool take_key(std::string_view& key) noexcept
    {
        if (rest_.empty() || !is_key_start(rest_.front())) {
            return false;
        }
        key = take_while(is_key_char);
        return true;
    }

    /// A member's value: an item or an inner list, with parameters; "true" where there is no '='.
    bool take_member_value(Item& item) noexcept
    {
        item = {};
        if (skip('=')) {
            if (!(peek() == '(' ? take_inner_list(item) : take_bare_item(item))) {
                return false;
            }
        }
        return take_parameters();
    }

private:
    char peek() const noexcept { return rest_.empty() ? '\0' : rest_.front(); }

    template <typename Predicate>
    std::string_view take_while(Predicate fits) noexcept
    {
        std::size_t size = 0;
        while (size < rest_.size() && fits(rest_[size])) {
            ++size;
        }
        const std::string_view taken = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return taken;
    }

    bool take_parameters() noexcept
    {
        while (skip(';')) {
            skip_spaces();
            std::string_view key;
            Item ignored;
            if (!take_key(key) || (skip('=') && !take_bare_item(ignored))) {
                return false;
            }
        }
        return true;
    }

    bool take_inner_list(Item& item) noexcept
    {
        skip('(');
        for (;;) {
            skip_spaces();
            if (skip(')')) {
                item = {};
                item.type = ItemType::inner_list;
                return true;
            }
            if (!take_bare_item(item) || !take_parameters() || (peek() != ' ' && peek() != ')')) {
                return false;
            }
        }
    }

    bool take_bare_item(Item& item) noexcept
    {
        const char c = peek();
        if (c == '-' || is_class(c, kDigit)) {
            return take_number(item);
        }
        if (c == '"') {
            return take_string(item);
        }
        if (c == ':') {
            return take_bytes(item);
        }
        if (c == '?') {
            return take_boolean(item);
        }
        if (c == '*' || (to_lower(c) >= 'a' && to_lower(c) <= 'z')) {
            item.type = ItemType::token;
            take_while([](char t) { return is_class(t, kToken) || t == ':' || t == '/'; });
            return true;
        }
        return false;
    }

    bool take_number(Item& item) noexcept
    {
        const bool is_negative = skip('-');
        const std::string_view whole = take_while([](char c) { return is_class(c, kDigit); });
        if (whole.empty() || whole.size() > 15) {
            return false;
        }
        if (skip('.')) {
            const std::string_view fraction = take_while([](char c) { return is_class(c, kDigit); });
            item.type = ItemType::decimal;
            return whole.size() <= 12 && !fraction.empty() && fraction.size() <= 3;
        }
        item.type = ItemType::integer;
        item.number = static_cast<std::int64_t>(*parse_decimal(whole)) * (is_negative ? -1 : 1);
        return true;
    }

    bool take_string(Item& item) noexcept
    {
        item.type = ItemType::string;
        bool has_escapes = false;
        for (std::size_t i = 1; i < rest_.size(); ++i) {
            const char c = rest_[i];
            if (c == '"') {
                item.text = has_escapes ? std::string_view{} : rest_.substr(1, i - 1);
                rest_.remove_prefix(i + 1);
                return true;
            }
            if (c == '\\') {
                ++i;
                has_escapes = true;
                if (i == rest_.size() || (rest_[i] != '"' && rest_[i] != '\\')) {
                    return false;
                }
            } else if (c < 0x20 || c > 0x7e) {
                return false;
            }
        }
        return false;
    }

    bool take_bytes(Item& item) noexcept
    {
        skip(':');
        take_while(is_base64);
        item.type = ItemType::bytes;
        return skip(':');
    }

    bool take_boolean(Item& item) noexcept
    {
        skip('?');
        item.type = ItemType::boolean;
        item.is_true = peek() == '1';
        return skip('1') || skip('0');
    }

    std::string_view rest_;
};

bool as_flag(const Item& item) noexcept
{
    return item.type == ItemType::boolean && item.is_true;
}

/// A value of the wrong type counts as if the directive were not there (RFC 9213 §2.1); a negative number is of the right one, but
/// no time.
Seconds as_freshness(const Item& item) noexcept
{
    if (item.type != ItemType::integer) {
        return {};
    }
    return item.number < 0 ? Seconds::invalid() : Seconds(item.number);
}

Seconds as_permission(const Item& item) noexcept
{
    return item.type == ItemType::integer && item.number >= 0 ? Seconds(item.number) : Seconds();
}

void set_restriction(const Item& item, bool& whole, FieldList& fields) noexcept
{
    fields = {};
    whole = as_flag(item) || (item.type == ItemType::string && !fields.add(item.text));
}

/// Of a key that stands twice the last value counts (RFC 8941 §4.2.2), so everything is assigned, never added.
void set_directive(std::string_view key, const Item& item, ResponseDirectives& out) noexcept
{
    if (key == "max-age") {
        out.max_age = as_freshness(item);
    } else if (key == "s-maxage") {
        out.s_maxage = as_freshness(item);
    } else if (key == "no-store") {
        out.no_store = as_flag(item);
    } else if (key == "no-cache") {
        set_restriction(item, out.no_cache, out.no_cache_fields);
    } else if (key == "private") {
        set_restriction(item, out.is_private, out.private_fields);
    } else if (key == "public") {
        out.is_public = as_flag(item);
    } else if (key == "must-revalidate") {
        out.must_revalidate = as_flag(item);
    } else if (key == "proxy-revalidate") {
        out.proxy_revalidate = as_flag(item);
    } else if (key == "must-understand") {
        out.must_understand = as_flag(item);
    } else if (key == "no-transform") {
        out.no_transform = as_flag(item);
    } else if (key == "immutable") {
        out.immutable = as_flag(item);
    } else if (key == "stale-while-revalidate") {
        out.stale_while_revalidate = as_permission(item);
    } else if (key == "stale-if-error") {
        out.stale_if_error = as_permission(item);
    }
}

/// One line of the field; lines are joined by a comma (RFC 8941 §4.2), so none of several may be empty.
bool read_line(std::string_view line, ResponseDirectives& out) noexcept
{
    Cursor cursor(line);
    cursor.skip_spaces();
    for (;;) {
        std::string_view key;
        Item item;
        if (!cursor.take_key(key) || !cursor.take_member_value(item)) {
            return false;
        }
        set_directive(key, item, out);
        cursor.skip_blanks();
        if (cursor.is_at_end()) {
            return true;
        }
        if (!cursor.skip(',')) {
            return false;
        }
        cursor.skip_blanks();
    }
}

} // namespace

bool read_cdn_cache_control(const Fields& response, ResponseDirectives& out) noexcept
{
    out = {};
    bool has_any = false;
    for (const Field& field : response) {
        if (field.id == FieldName::cdn_cache_control) {
            has_any = true;
            if (!read_line(response.value(field), out)) {
                return false;
            }
        }
    }
    return has_any;
}

} // namespace ladle::http
