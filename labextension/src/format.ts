/** How numbers, times and amounts read. Pure; the same words as on the Python side (widgets/text.py). */

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

/** `8s`, `1m 05s`, `2h 03m`, `4d 01h`; empty for null. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) {
    return '';
  }
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number) => String(value).padStart(2, '0');
  if (whole < MINUTE) {
    return `${whole}s`;
  }
  if (whole < HOUR) {
    return `${Math.floor(whole / MINUTE)}m ${two(whole % MINUTE)}s`;
  }
  if (whole < DAY) {
    return `${Math.floor(whole / HOUR)}h ${two(Math.floor((whole % HOUR) / MINUTE))}m`;
  }
  return `${Math.floor(whole / DAY)}d ${two(Math.floor((whole % DAY) / HOUR))}h`;
}

/** One unit only, for narrow places: `8s`, `5m`, `2h`, `4d`. */
export function age(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < MINUTE) {
    return `${whole}s`;
  }
  if (whole < HOUR) {
    return `${Math.floor(whole / MINUTE)}m`;
  }
  return whole < 2 * DAY ? `${Math.floor(whole / HOUR)}h` : `${Math.floor(whole / DAY)}d`;
}

/** A metric's value in at most four significant digits. */
export function number(value: number | null): string {
  if (value === null || Number.isNaN(value)) {
    return 'nan';
  }
  if (!Number.isFinite(value)) {
    return value > 0 ? '∞' : '-∞';
  }
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6)) {
    return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e');
  }
  return String(Number(value.toPrecision(4)));
}

/** `512 MiB`, `4 GiB`. */
export function memory(bytes: number): string {
  const gib = bytes / 2 ** 30;
  return gib >= 1 ? `${number(Math.round(gib * 10) / 10)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`;
}

/** `4 CPU · 8 GiB · 2 GPU`; empty when nothing was asked for. */
export function hardware(cpu: number, bytes: number, gpu: number): string {
  const parts = [];
  if (gpu) {
    parts.push(`${gpu} GPU`);
  }
  if (cpu) {
    parts.push(`${number(cpu)} CPU`);
  }
  if (bytes) {
    parts.push(memory(bytes));
  }
  return parts.join(' · ');
}

/** Time of day of epoch seconds. */
export function clock(seconds: number | null): string {
  return seconds === null ? '' : new Date(seconds * 1000).toLocaleTimeString();
}

/** Date and time of epoch seconds. */
export function moment(seconds: number | null): string {
  return seconds === null ? '' : new Date(seconds * 1000).toLocaleString();
}

// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** One line of a log without escape sequences and control characters. */
export function clean(line: string): string {
  if (line.search(CONTROL) < 0 && !line.includes('\t')) {
    return line;
  }
  return line.replace(ESCAPES, '').replace(/\t/g, '    ').replace(CONTROL, '');
}
