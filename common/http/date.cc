// SPDX-License-Identifier: Apache-2.0
#include "common/http/date.h"

#include "common/http/grammar.h"

#include <algorithm>
#include <array>

namespace ladle::http {

namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 7> kLongDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                       "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr std::int64_t kDayS = 86400;
constexpr std::int64_t kFiftyYearsS = 1'577'847'600; // of 365.2425 days

struct Civil {
    std::int64_t year = 0;
    int month = 0; // 1 to 12
    int day = 0;
};

/// Days since 1970-01-01 of a date in the Gregorian calendar; years from March make the leap day the last of its year.
std::int64_t to_days(Civil date) noexcept
{
    const std::int64_t year = date.month <= 2 ? date.year - 1 : date.year;
    const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
    const std::int64_t year_of_era = year - era * 400;
    const std::int64_t day_of_year = (153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

Civil from_days(std::int64_t days) noexcept
{
    days += 719468;
    const std::int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    const std::int64_t day_of_era = days - era * 146097;
    const std::int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const std::int64_t month = (5 * day_of_year + 2) / 153; // 0 is March
    const int day = static_cast<int>(day_of_year - (153 * month + 2) / 5 + 1);
    const int civil_month = static_cast<int>(month < 10 ? month + 3 : month - 9);
    return {year_of_era + era * 400 + (civil_month <= 2 ? 1 : 0), civil_month, day};
}

int month_length(std::int64_t year, int month) noexcept
{
    static constexpr std::array<int, 12> kLengths = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && is_leap ? 29 : kLengths[static_cast<std::size_t>(month - 1)];
}

/// Takes pieces off a text; after the first that does not fit, nothing fits any more.
class Pieces {
public:
    explicit Pieces(std::string_view text) noexcept : rest_(text) {}

    void literal(std::string_view wanted) noexcept
    {
        if (is_good_ && rest_.size() >= wanted.size() && equals_ignoring_case(rest_.substr(0, wanted.size()), wanted)) {
            rest_.remove_prefix(wanted.size());
        } else {
            is_good_ = false;
        }
    }
    /// Exactly `width` digits; with `may_pad`, the first may be a space.
    int number(std::size_t width, bool may_pad = false) noexcept
    {
        if (!is_good_ || rest_.size() < width) {
            is_good_ = false;
            return 0;
        }
        int value = 0;
        for (std::size_t i = 0; i < width; ++i) {
            if (may_pad && i == 0 && rest_[0] == ' ') {
                continue;
            }
            is_good_ = is_good_ && is_class(rest_[i], kDigit);
            value = value * 10 + (rest_[i] - '0');
        }
        rest_.remove_prefix(width);
        return value;
    }
    /// The index of the name that comes next; at least one must be a prefix of no other.
    template <std::size_t N>
    int name(const std::array<std::string_view, N>& names) noexcept
    {
        for (std::size_t i = 0; is_good_ && i < N; ++i) {
            if (rest_.size() >= names[i].size() && equals_ignoring_case(rest_.substr(0, names[i].size()), names[i])) {
                rest_.remove_prefix(names[i].size());
                return static_cast<int>(i);
            }
        }
        is_good_ = false;
        return 0;
    }
    bool is_done() const noexcept { return is_good_ && rest_.empty(); }

private:
    std::string_view rest_;
    bool is_good_ = true;
};

struct Time {
    int hour = 0;
    int minute = 0;
    int second = 0;
};

Time take_time(Pieces& pieces) noexcept
{
    Time time;
    time.hour = pieces.number(2);
    pieces.literal(":");
    time.minute = pieces.number(2);
    pieces.literal(":");
    time.second = pieces.number(2);
    return time;
}

std::optional<std::int64_t> join(Civil date, Time time) noexcept
{
    if (date.day < 1 || date.day > month_length(date.year, date.month) || time.hour > 23 || time.minute > 59 || time.second > 60) {
        return std::nullopt;
    }
    return to_days(date) * kDayS + time.hour * 3600 + time.minute * 60 + time.second;
}

std::optional<std::int64_t> parse_fixdate(std::string_view text) noexcept
{
    Pieces pieces(text);
    pieces.name(kDays);
    pieces.literal(", ");
    Civil date;
    date.day = pieces.number(2);
    pieces.literal(" ");
    date.month = pieces.name(kMonths) + 1;
    pieces.literal(" ");
    date.year = pieces.number(4);
    pieces.literal(" ");
    const Time time = take_time(pieces);
    pieces.literal(" GMT");
    return pieces.is_done() ? join(date, time) : std::nullopt;
}

/// RFC 9110 §5.6.7: a year that seems more than 50 years ahead is the most recent one in the past with these digits.
std::optional<std::int64_t> parse_rfc850(std::string_view text, std::int64_t now_s) noexcept
{
    Pieces pieces(text);
    pieces.name(kLongDays);
    pieces.literal(", ");
    Civil date;
    date.day = pieces.number(2);
    pieces.literal("-");
    date.month = pieces.name(kMonths) + 1;
    pieces.literal("-");
    const int digits = pieces.number(2);
    pieces.literal(" ");
    const Time time = take_time(pieces);
    pieces.literal(" GMT");
    if (!pieces.is_done()) {
        return std::nullopt;
    }
    const std::int64_t this_year = from_days(now_s / kDayS).year;
    date.year = this_year - this_year % 100 + digits + 100;
    for (int i = 0; i < 2; ++i) { // the next century, this one, the last one
        if (to_days(date) * kDayS + time.hour * 3600 + time.minute * 60 + time.second <= now_s + kFiftyYearsS) {
            break;
        }
        date.year -= 100;
    }
    return join(date, time);
}

std::optional<std::int64_t> parse_asctime(std::string_view text) noexcept
{
    Pieces pieces(text);
    pieces.name(kDays);
    pieces.literal(" ");
    Civil date;
    date.month = pieces.name(kMonths) + 1;
    pieces.literal(" ");
    date.day = pieces.number(2, true);
    pieces.literal(" ");
    const Time time = take_time(pieces);
    pieces.literal(" ");
    date.year = pieces.number(4);
    return pieces.is_done() ? join(date, time) : std::nullopt;
}

void put_number(char* at, std::int64_t value, int width) noexcept
{
    for (int i = width - 1; i >= 0; --i) {
        at[i] = static_cast<char>('0' + value % 10);
        value /= 10;
    }
}

} // namespace

std::optional<std::int64_t> parse_date(std::string_view text, std::int64_t now_s) noexcept
{
    if (text.size() < 24 || text.size() > 33) {
        return std::nullopt;
    }
    if (text[3] == ',') {
        return parse_fixdate(text);
    }
    return text[3] == ' ' ? parse_asctime(text) : parse_rfc850(text, now_s);
}

std::string_view format_date(std::int64_t unix_s, char (&out)[kDateLength]) noexcept
{
    constexpr std::int64_t kFirst = -62167219200; // 0000-01-01
    constexpr std::int64_t kLast = 253402300799;  // 9999-12-31 23:59:59
    unix_s = std::clamp(unix_s, kFirst, kLast);
    const std::int64_t days = (unix_s >= 0 ? unix_s : unix_s - (kDayS - 1)) / kDayS;
    const std::int64_t second = unix_s - days * kDayS;
    const Civil date = from_days(days);
    const auto weekday = static_cast<std::size_t>(((days + 4) % 7 + 7) % 7); // 1970-01-01 was a Thursday
    std::string_view("Day, 00 Mon 0000 00:00:00 GMT").copy(out, kDateLength);
    kDays[weekday].copy(out, 3);
    put_number(out + 5, date.day, 2);
    kMonths[static_cast<std::size_t>(date.month - 1)].copy(out + 8, 3);
    put_number(out + 12, date.year, 4);
    put_number(out + 17, second / 3600, 2);
    put_number(out + 20, second / 60 % 60, 2);
    put_number(out + 23, second % 60, 2);
    return {out, kDateLength};
}

} // namespace ladle::http
