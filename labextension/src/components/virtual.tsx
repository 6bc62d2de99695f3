/** A list of rows of one height of which only those in sight exist. */

import * as React from 'react';

export interface VirtualProps {
  size: number;
  height: number;
  className: string;
  role?: string;
  label: string;
  /** What comes is not read out, though the role would have it. */
  quiet?: boolean;
  /** Rows beyond the edges that exist too. */
  overscan?: number;
  /** Keep the end in sight while it grows. */
  follow?: boolean;
  onFollow?: (follow: boolean) => void;
  /** How many rows were let go of at the beginning: what is in sight stays there when it grows. */
  origin?: number | null;
  /** Which rows are in sight. */
  onRange?: (first: number, last: number) => void;
  render: (index: number) => React.ReactNode;
  onKeyDown?: (event: React.KeyboardEvent) => void;
  /** A row that has to be in sight. */
  reveal?: number | null;
  tabIndex?: number;
}

/** Rows that a page has for its keys. */
const PAGE = 10;

/** The row that a key leads to from row `at` (-1 is none) of so many; undefined where the key leads nowhere. */
export function moved(key: string, at: number, size: number): number | undefined {
  const last = size - 1;
  const moves: Record<string, number> = {
    ArrowDown: Math.min(last, at + 1),
    ArrowUp: Math.max(0, at - 1),
    Home: 0,
    End: last,
    PageDown: Math.min(last, at + PAGE),
    PageUp: Math.max(0, at - PAGE)
  };
  return moves[key];
}

export function Virtual(props: VirtualProps): React.JSX.Element {
  const { size, height, overscan = 8, follow, onFollow, onRange } = props;
  const reveal = props.reveal ?? null;
  const origin = props.origin ?? null;
  const box = React.useRef<HTMLDivElement>(null);
  const [top, setTop] = React.useState(0);
  const [room, setRoom] = React.useState(600);
  const seen = React.useRef({ top: 0, origin, reveal: null as number | null });

  React.useLayoutEffect(() => {
    const node = box.current;
    if (!node) {
      return;
    }
    const watch = new ResizeObserver(() => setRoom(node.clientHeight));
    watch.observe(node);
    setRoom(node.clientHeight);
    return () => watch.disconnect();
  }, []);

  const first = Math.max(0, Math.min(Math.floor(top / height) - overscan, size - 1));
  const last = Math.min(size, Math.ceil((top + room) / height) + overscan);

  React.useEffect(() => onRange?.(first, last), [first, last, onRange]);

  React.useLayoutEffect(() => {
    const node = box.current;
    const before = seen.current;
    const gone = origin !== null && before.origin !== null ? origin - before.origin : 0;
    const moved = reveal !== null && (before.reveal === null || reveal !== before.reveal - gone);
    seen.current = { top: before.top - gone * height, origin, reveal };
    if (!node) {
      return;
    }
    if (gone && !follow) {
      node.scrollTop -= gone * height;
      setTop(node.scrollTop);
    }
    if (moved && reveal * height < node.scrollTop) {
      node.scrollTop = reveal * height;
    } else if (moved && (reveal + 1) * height > node.scrollTop + node.clientHeight) {
      node.scrollTop = (reveal + 1) * height - node.clientHeight;
    }
  }, [reveal, origin, height, follow]);

  React.useLayoutEffect(() => {
    if (follow && box.current) {
      box.current.scrollTop = size * height;
      // At once, and not with the scroll event a frame later: the rows of the end are there when it is painted.
      setTop(box.current.scrollTop);
    }
  }, [follow, size, height, room]);

  const onScroll = () => {
    const node = box.current;
    if (!node) {
      return;
    }
    const up = node.scrollTop < seen.current.top;
    seen.current.top = node.scrollTop;
    setTop(node.scrollTop);
    // Only a person scrolls up; one who does wants to read, and one who comes back to the end wants to follow again.
    const atEnd = node.scrollTop + node.clientHeight >= size * height - height;
    if (up !== atEnd) {
      onFollow?.(atEnd);
    }
  };

  const rows = [];
  for (let index = first; index < last; index++) {
    rows.push(props.render(index));
  }
  return (
    <div
      ref={box}
      className={`kfx-Virtual ${props.className}`}
      role={props.role}
      aria-label={props.label}
      aria-live={props.quiet ? 'off' : undefined}
      aria-rowcount={props.role === 'grid' ? size : undefined}
      tabIndex={props.tabIndex ?? 0}
      onScroll={onScroll}
      onWheel={event => event.deltaY < 0 && follow && onFollow?.(false)}
      onKeyDown={props.onKeyDown}
    >
      <div className="kfx-Virtual-all" style={{ height: size * height }} role="presentation">
        <div style={{ transform: `translateY(${first * height}px)` }} role="presentation">
          {rows}
        </div>
      </div>
    </div>
  );
}
