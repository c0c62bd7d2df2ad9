/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MC146818 real-time clock and 128 bytes of CMOS RAM. Motorola MC146818 data sheet.
 * The clock is the host's (UTC) plus an offset that the guest makes by setting it. Nothing ticks:
 * each access sets the flags of all events since the one before (catch_up()), also of those during a
 * restart of the host. A timer runs only while an interrupt is enabled and its flag not set yet. */
#include "devices/devices.h"
#include "devices/platform/platform.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>

#define RTC_PORT   0x70
#define RTC_PORTS  2
#define RTC_GSI	   8
#define RTC_CMOS   128
#define NS_PER_S   1000000000u
#define S_PER_DAY  86400
#define UIP_NS	   244000 /* the update flag rises this long before the time changes */
#define CRYSTAL_HZ 32768
#define MAX_ABS_S  (INT64_C(1) << 42) /* any year that four digits can say, and far beyond */

enum {
	REG_SECOND = 0x00,
	REG_SECOND_ALARM = 0x01,
	REG_MINUTE = 0x02,
	REG_MINUTE_ALARM = 0x03,
	REG_HOUR = 0x04,
	REG_HOUR_ALARM = 0x05,
	REG_WEEKDAY = 0x06,
	REG_DAY = 0x07,
	REG_MONTH = 0x08,
	REG_YEAR = 0x09,
	REG_A = 0x0a,
	REG_B = 0x0b,
	REG_C = 0x0c,
	REG_D = 0x0d,
	REG_SHUTDOWN = 0x0f,
	REG_CENTURY = RTC_CENTURY,
};

#define A_UIP	  0x80
#define A_DIVIDER 0x70
#define A_RATE	  0x0f
#define A_HELD	  0x60 /* both upper divider bits: the chain is held in reset */
#define A_DEFAULT 0x26 /* 32768 Hz crystal, 1024 Hz rate */

#define B_SET	 0x80
#define B_PIE	 0x40
#define B_AIE	 0x20
#define B_UIE	 0x10
#define B_SQWE	 0x08
#define B_BINARY 0x04
#define B_24H	 0x02

#define C_IRQF 0x80
#define C_PF   0x40
#define C_AF   0x20
#define C_UF   0x10
#define C_ALL  (C_PF | C_AF | C_UF) /* in the same places as B's enable bits */

#define D_VALID 0x80
#define ANY	0xc0 /* alarm bytes from here on match everything */
#define HOUR_PM 0x80

struct rtc_state {
	uint64_t offset_s;  /* guest's clock minus host's, two's complement */
	uint64_t seen_s;    /* guest's clock up to which flags are set */
	uint32_t offset_ns; /* added on top of offset_s: below a second */
	uint32_t seen_ns;
	uint8_t cmos[RTC_CMOS]; /* time bytes: valid while the clock is held, else made anew at
				   each access */
	uint8_t index;
	uint8_t reserved[7]; /* keeps the struct free of padding */
};
#define RTC_STATE(F, A, V, T) \
	F(T, offset_s)        \
	F(T, seen_s)          \
	F(T, offset_ns)       \
	F(T, seen_ns)         \
	F(T, cmos)            \
	F(T, index)           \
	F(T, reserved, ST_PADDING)

struct rtc {
	struct device dev;
	struct rtc_state s;
	struct timer timer;
	struct irq_line irq;
	bool running;
};

/* A moment of the guest's clock. */
struct moment {
	int64_t s; /* since 1970 */
	uint32_t ns;
};

static bool out_of_range(uint64_t s, uint32_t ns)
{
	return (int64_t)s > MAX_ABS_S || (int64_t)s < -MAX_ABS_S || ns >= NS_PER_S;
}

static const char *rtc_check(const void *state)
{
	const struct rtc_state *s = state;

	if (s->index >= RTC_CMOS)
		return "index past the CMOS";
	if (out_of_range(s->offset_s, s->offset_ns) || out_of_range(s->seen_s, s->seen_ns))
		return "the clock is beyond the calendar";
	if (s->cmos[REG_A] & A_UIP || s->cmos[REG_C] & ~C_ALL || s->cmos[REG_D] != D_VALID)
		return "a register has bits that do not exist";
	return NULL;
}
STATE_DEFINE(rtc_state, RTC_STATE, "rtc", rtc_check);

static struct moment host_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (struct moment){ts.tv_sec, (uint32_t)ts.tv_nsec};
}

static struct moment guest_now(const struct rtc_state *s)
{
	struct moment now = host_now();

	now.s += (int64_t)s->offset_s;
	now.ns += s->offset_ns;
	now.s += now.ns / NS_PER_S;
	now.ns %= NS_PER_S;
	return now;
}

/* Sets the offset so that the guest's clock is now `guest`. */
static void set_clock(struct rtc_state *s, struct moment guest)
{
	struct moment host = host_now();
	int64_t offset_s = guest.s - host.s;

	if (guest.ns < host.ns) {
		guest.ns += NS_PER_S;
		offset_s--;
	}
	s->offset_s = (uint64_t)offset_s;
	s->offset_ns = guest.ns - host.ns;
	s->seen_s = (uint64_t)guest.s;
	s->seen_ns = guest.ns % NS_PER_S;
}

/* Days since 1970-01-01 of a date in the Gregorian calendar, and back; years start in March. Not gmtime_r(3) and
 * timegm(3): they count leap seconds where the host's time zone does. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
	int64_t y = year - (month <= 2), m = (month + 9) % 12;

	return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static void date_from_days(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), m = (5 * doy + 2) / 153;

	*day = doy - (153 * m + 2) / 5 + 1;
	*month = m < 10 ? m + 3 : m - 9;
	*year = yoe + era * 400 + (*month <= 2);
}

static uint8_t encode(const struct rtc_state *s, int64_t value)
{
	return (uint8_t)(s->cmos[REG_B] & B_BINARY ? value : value / 10 * 16 + value % 10);
}

static uint32_t decode(const struct rtc_state *s, uint8_t byte)
{
	return s->cmos[REG_B] & B_BINARY ? byte : (uint32_t)(byte >> 4) * 10 + (byte & 0xf);
}

static uint8_t encode_hour(const struct rtc_state *s, int64_t hour)
{
	if (s->cmos[REG_B] & B_24H)
		return encode(s, hour);
	return encode(s, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0);
}

static uint32_t decode_hour(const struct rtc_state *s, uint8_t byte)
{
	uint32_t hour;

	if (s->cmos[REG_B] & B_24H)
		return decode(s, byte);
	hour = decode(s, byte & (uint8_t)~HOUR_PM);
	if (hour < 1 || hour > 12)
		return UINT32_MAX;
	return hour % 12 + (byte & HOUR_PM ? 12 : 0);
}

/* Division that rounds down: the clock may be set to before 1970. */
static int64_t day_of(int64_t s)
{
	return (s >= 0 ? s : s - (S_PER_DAY - 1)) / S_PER_DAY;
}

/* Shows a time in the registers. */
static void show_time(struct rtc_state *s, int64_t now_s)
{
	int64_t days = day_of(now_s), in_day = now_s - days * S_PER_DAY, year, month, day;

	date_from_days(days, &year, &month, &day);
	s->cmos[REG_SECOND] = encode(s, in_day % 60);
	s->cmos[REG_MINUTE] = encode(s, in_day / 60 % 60);
	s->cmos[REG_HOUR] = encode_hour(s, in_day / 3600);
	s->cmos[REG_WEEKDAY] = encode(s, ((days + 4) % 7 + 7) % 7 + 1);
	s->cmos[REG_DAY] = encode(s, day);
	s->cmos[REG_MONTH] = encode(s, month);
	s->cmos[REG_YEAR] = encode(s, (year % 100 + 100) % 100);
	s->cmos[REG_CENTURY] = encode(s, (year / 100 % 100 + 100) % 100);
}

/* The time in the registers. Whatever the bytes hold, the result is some time of some year. */
static int64_t shown_time(const struct rtc_state *s)
{
	int64_t year =
		(int64_t)decode(s, s->cmos[REG_CENTURY]) * 100 + decode(s, s->cmos[REG_YEAR]);
	int64_t days =
		days_from_date(year, decode(s, s->cmos[REG_MONTH]), decode(s, s->cmos[REG_DAY]));
	uint32_t hour = decode_hour(s, s->cmos[REG_HOUR]);

	return days * S_PER_DAY + (int64_t)(hour == UINT32_MAX ? 0 : hour) * 3600 +
	       (int64_t)decode(s, s->cmos[REG_MINUTE]) * 60 + decode(s, s->cmos[REG_SECOND]);
}

static bool divider_held(const struct rtc_state *s)
{
	return (s->cmos[REG_A] & A_HELD) == A_HELD;
}

static bool is_held(const struct rtc_state *s)
{
	return s->cmos[REG_B] & B_SET || divider_held(s);
}

/* Ticks of the periodic interrupt in a second; 0: off. */
static uint32_t periodic_hz(const struct rtc_state *s)
{
	uint32_t rate = s->cmos[REG_A] & A_RATE;

	if (!rate || divider_held(s))
		return 0;
	return CRYSTAL_HZ >> ((rate <= 2 ? rate + 7 : rate) - 1);
}

/* Does alarm byte `reg` match, as value 0 to limit - 1? UINT32_MAX: any; >= limit: never. */
static uint32_t alarm_field(const struct rtc_state *s, uint8_t reg)
{
	uint8_t byte = s->cmos[reg];

	if (byte >= ANY)
		return UINT32_MAX;
	return reg == REG_HOUR_ALARM ? decode_hour(s, byte) : decode(s, byte);
}

/* The first second after `after_s` that the alarm matches; INT64_MAX: none does. */
static int64_t next_alarm(const struct rtc_state *s, int64_t after_s)
{
	uint32_t second = alarm_field(s, REG_SECOND_ALARM);
	uint32_t minute = alarm_field(s, REG_MINUTE_ALARM);
	uint32_t hour = alarm_field(s, REG_HOUR_ALARM);
	bool never = (s->cmos[REG_HOUR_ALARM] < ANY && hour > 23) ||
		     (minute > 59 && minute != UINT32_MAX) || (second > 59 && second != UINT32_MAX);
	int64_t at = after_s + 1;

	/* Whole hours and minutes at a step: at most 24 + 60 + 60 of them. */
	while (!never) {
		/* The clock may be set to before 1970. */
		uint32_t in_day = (uint32_t)((at % S_PER_DAY + S_PER_DAY) % S_PER_DAY);

		if (hour != UINT32_MAX && in_day / 3600 != hour)
			at += 3600 - in_day % 3600;
		else if (minute != UINT32_MAX && in_day / 60 % 60 != minute)
			at += 60 - in_day % 60;
		else if (second != UINT32_MAX && in_day % 60 != second)
			at++;
		else
			return at;
	}
	return INT64_MAX;
}

static uint64_t periodic_tick(struct moment at, uint32_t hz)
{
	return (uint64_t)at.s * hz + (uint64_t)at.ns * hz / NS_PER_S;
}

/* Sets the flags of all events since the last call. */
static void set_flags(struct rtc_state *s)
{
	struct moment now = guest_now(s), seen = {(int64_t)s->seen_s, s->seen_ns};
	uint32_t hz = periodic_hz(s);

	s->seen_s = (uint64_t)now.s;
	s->seen_ns = now.ns;
	/* The host's clock was set back: no event happens twice. */
	if (now.s < seen.s || (now.s == seen.s && now.ns <= seen.ns))
		return;
	if (hz && periodic_tick(now, hz) != periodic_tick(seen, hz))
		s->cmos[REG_C] |= C_PF;
	if (is_held(s) || now.s == seen.s)
		return;
	s->cmos[REG_C] |= C_UF;
	if (next_alarm(s, seen.s) <= now.s)
		s->cmos[REG_C] |= C_AF;
}

static bool alarm_rings(const struct rtc_state *s)
{
	return s->cmos[REG_C] & s->cmos[REG_B] & C_AF;
}

/* A new alarm goes to power management, which wakes a sleeping guest. */
static void notify_alarm(struct rtc *rtc, bool rang)
{
	if (!rang && alarm_rings(&rtc->s))
		vm_request(rtc->dev.vm, VM_REQUEST_ALARM);
}

static void catch_up(struct rtc *rtc)
{
	bool rang = alarm_rings(&rtc->s);

	set_flags(&rtc->s);
	notify_alarm(rtc, rang);
}

static bool line_level(const struct rtc_state *s)
{
	return s->cmos[REG_C] & s->cmos[REG_B] & C_ALL;
}

static void update_irq(struct rtc *rtc)
{
	irq_line_set(&rtc->irq, line_level(&rtc->s));
}

/* The time of the next interrupt whose flag is not set yet; false: there is none. */
static bool next_event(const struct rtc_state *s, struct moment *at)
{
	uint8_t wanted = s->cmos[REG_B] & (uint8_t)~s->cmos[REG_C] & C_ALL;
	uint32_t hz = periodic_hz(s);
	int64_t second = INT64_MAX;

	if (!is_held(s) && wanted & B_UIE)
		second = (int64_t)s->seen_s + 1;
	else if (!is_held(s) && wanted & B_AIE)
		second = next_alarm(s, (int64_t)s->seen_s);
	*at = (struct moment){second, 0};
	if (hz && wanted & B_PIE) {
		uint64_t tick = (uint64_t)s->seen_ns * hz / NS_PER_S + 1;

		/* Within this second, so never later than the two above. Rounded up. */
		at->s = (int64_t)s->seen_s + (int64_t)(tick / hz);
		at->ns = (uint32_t)((tick % hz * NS_PER_S + hz - 1) / hz);
	}
	return at->s != INT64_MAX;
}

static void arm_timer(const struct rtc *rtc)
{
	const struct rtc_state *s = &rtc->s;
	struct itimerspec spec = {0};
	struct moment at;

	if (rtc->running && next_event(s, &at)) {
		at.s -= (int64_t)s->offset_s;
		if (at.ns < s->offset_ns) {
			at.ns += NS_PER_S;
			at.s--;
		}
		/* 0 would switch the timer off; a time that has passed fires at once. */
		spec.it_value.tv_sec = at.s > 0 ? at.s : 1;
		spec.it_value.tv_nsec = at.ns - s->offset_ns;
	}
	/* Fires as well when the host's clock is set. */
	timerfd_settime(rtc->timer.fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &spec, NULL);
}

static void timer_ready(void *opaque, uint32_t events)
{
	struct rtc *rtc = opaque;

	if (!timer_take(&rtc->timer) || !rtc->running)
		return;
	catch_up(rtc);
	arm_timer(rtc);
	update_irq(rtc);
}

static bool is_time(uint8_t index)
{
	bool is_alarm = index < REG_WEEKDAY && index & 1;

	return (index <= REG_YEAR && !is_alarm) || index == REG_CENTURY;
}

static uint8_t read_a(const struct rtc_state *s)
{
	bool updating = !is_held(s) && guest_now(s).ns >= NS_PER_S - UIP_NS;

	return s->cmos[REG_A] | (updating ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *rtc)
{
	struct rtc_state *s = &rtc->s;
	uint8_t flags;

	catch_up(rtc);
	flags = s->cmos[REG_C] | (line_level(s) ? C_IRQF : 0);
	s->cmos[REG_C] = 0;
	arm_timer(rtc);
	update_irq(rtc);
	return flags;
}

static uint8_t read_register(void *opaque, uint64_t port)
{
	struct rtc *rtc = opaque;
	struct rtc_state *s = &rtc->s;

	if (!port)
		return 0xff; /* the index cannot be read back */
	if (s->index == REG_A)
		return read_a(s);
	if (s->index == REG_C)
		return read_c(rtc);
	if (is_time(s->index) && !is_held(s))
		show_time(s, guest_now(s).s);
	return s->cmos[s->index];
}

/* Changes A or B, which may stop the clock with the bytes it shows, or start it from those. */
static void write_control(struct rtc_state *s, uint8_t index, uint8_t value)
{
	bool held_before = is_held(s), divider_before = divider_held(s);
	struct moment now = guest_now(s);

	if (index == REG_A)
		value &= (uint8_t)~A_UIP;
	else if (value & B_SET)
		value &= (uint8_t)~B_UIE;
	s->cmos[index] = value;
	if (!held_before)
		show_time(s, now.s);
	if (!held_before || is_held(s))
		return;
	/* The first update comes half a second after the divider starts; SET alone leaves the
	 * divider and with it the phase of the second as they were. */
	now.s = shown_time(s);
	if (divider_before)
		now.ns = NS_PER_S / 2;
	set_clock(s, now);
}

static void write_time(struct rtc_state *s, uint8_t index, uint8_t value)
{
	struct moment now = guest_now(s);

	if (is_held(s)) {
		s->cmos[index] = value;
		return;
	}
	show_time(s, now.s);
	s->cmos[index] = value;
	now.s = shown_time(s);
	set_clock(s, now);
}

static void write_register(void *opaque, uint64_t port, uint8_t value)
{
	struct rtc *rtc = opaque;
	struct rtc_state *s = &rtc->s;
	bool rang;

	if (!port) {
		s->index = value % RTC_CMOS; /* bit 7 masks NMIs, which there are none of */
		return;
	}
	catch_up(rtc);
	rang = alarm_rings(s);
	if (s->index == REG_A || s->index == REG_B)
		write_control(s, s->index, value);
	else if (is_time(s->index))
		write_time(s, s->index, value);
	else if (s->index != REG_C && s->index != REG_D)
		s->cmos[s->index] = value;
	/* Plain CMOS RAM does not affect the clock. */
	if (s->index > REG_B && s->index != REG_CENTURY)
		return;
	arm_timer(rtc);
	update_irq(rtc);
	notify_alarm(rtc, rang);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, uint32_t size)
{
	return device_read_bytes(read_register, opaque, offset, size);
}

static void rtc_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	device_write_bytes(write_register, opaque, offset, size, value);
}

static const struct bus_ops rtc_bus_ops = {.read = rtc_read, .write = rtc_write};

static void cmos_put(struct rtc_state *s, uint8_t at, uint64_t value, uint64_t max, uint32_t bytes)
{
	if (value > max)
		value = max;
	for (uint32_t i = 0; i < bytes; i++)
		s->cmos[at + i] = (uint8_t)(value >> (8 * i));
}

/* Memory sizes where a PC BIOS leaves them. */
static void show_memory(struct rtc_state *s, const struct ram *ram)
{
	uint64_t low_end = 0, high_bytes = 0;

	for (uint32_t i = 0; i < ram->nregions; i++) {
		const struct ram_region *region = &ram->region[i];
		uint64_t end = region->gpa + region->size_bytes;

		if (region->gpa >> 32)
			high_bytes += region->size_bytes;
		else if (end > low_end)
			low_end = end;
	}
	cmos_put(s, 0x15, 640, 640, 2);
	cmos_put(s, 0x17, low_end > 1 << 20 ? (low_end - (1 << 20)) >> 10 : 0, UINT16_MAX, 2);
	memcpy(s->cmos + 0x30, s->cmos + 0x17, 2);
	cmos_put(s, 0x34, low_end > 16 << 20 ? (low_end - (16 << 20)) >> 16 : 0, UINT16_MAX, 2);
	cmos_put(s, 0x5b, high_bytes >> 16, 0xffffff, 3);
}

static int rtc_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);
	const struct bus_region region = {RTC_PORT, RTC_PORTS,	&rtc_bus_ops,
					  rtc,	    &dev->lock, dev->name};
	int ret = bus_add(&vm->bus, BUS_PIO, &region, err);

	if (ret)
		return ret;
	rtc->irq = (struct irq_line){.irq = &vm->irq, .gsi = RTC_GSI};
	return timer_open(&rtc->timer, CLOCK_REALTIME, &vm->loop, timer_ready, rtc, &dev->lock,
			  err);
}

static void rtc_detach(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	timer_close(&rtc->timer);
}

/* A battery keeps clock and CMOS RAM over a reset; registers that a BIOS sets up are set again. */
static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);
	struct rtc_state *s = &rtc->s;
	struct moment now = guest_now(s);

	if (is_held(s)) {
		now.s = shown_time(s);
		set_clock(s, now);
	}
	s->seen_s = (uint64_t)now.s;
	s->seen_ns = now.ns;
	s->cmos[REG_A] = A_DEFAULT;
	s->cmos[REG_B] = B_24H;
	s->cmos[REG_C] = 0;
	s->cmos[REG_D] = D_VALID;
	s->cmos[REG_SHUTDOWN] = 0;
	s->index = 0;
	show_memory(s, &dev->vm->ram);
	arm_timer(rtc);
	irq_line_renew(&rtc->irq, line_level(&rtc->s));
}

static int rtc_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	rtc->running = false;
	arm_timer(rtc);
	return 0;
}

static void rtc_resume(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	rtc->running = true;
	catch_up(rtc);
	arm_timer(rtc);
	irq_line_renew(&rtc->irq, line_level(&rtc->s));
}

const struct device_ops rtc_ops = {
	.type = "rtc",
	.state = &rtc_state_desc,
	DEVICE_STRUCT(struct rtc),
	.guest_gsi = RTC_GSI,
	.attach = rtc_attach,
	.detach = rtc_detach,
	.reset = rtc_reset,
	.pause = rtc_pause,
	.resume = rtc_resume,
};
