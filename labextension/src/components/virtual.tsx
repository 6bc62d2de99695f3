/** A list of rows of one height of which only those in sight exist. */

import * as React from 'react';

export interface VirtualProps {
  size: number;
  height: number;
  className: string;
  role?: string;
  label: string;
  /** Rows beyond the edges that exist too. */
  overscan?: number;
  /** Keep the end in sight while it grows. */
  follow?: boolean;
  onFollow?: (follow: boolean) => void;
  /** Which rows are in sight. */
  onRange?: (first: number, last: number) => void;
  render: (index: number) => React.ReactNode;
  onKeyDown?: (event: React.KeyboardEvent) => void;
  /** A row that has to be in sight. */
  reveal?: number | null;
  tabIndex?: number;
}

export function Virtual(props: VirtualProps): React.JSX.Element {
  const { size, height, overscan = 8, follow, onFollow, onRange, reveal } = props;
  const box = React.useRef<HTMLDivElement>(null);
  const [top, setTop] = React.useState(0);
  const [room, setRoom] = React.useState(600);

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
    if (follow && box.current) {
      box.current.scrollTop = size * height;
    }
  }, [follow, size, height, room]);

  React.useLayoutEffect(() => {
    const node = box.current;
    if (node && reveal !== null && reveal !== undefined && reveal >= 0) {
      if (reveal * height < node.scrollTop) {
        node.scrollTop = reveal * height;
      } else if ((reveal + 1) * height > node.scrollTop + node.clientHeight) {
        node.scrollTop = (reveal + 1) * height - node.clientHeight;
      }
    }
  }, [reveal, height]);

  const onScroll = () => {
    const node = box.current;
    if (!node) {
      return;
    }
    setTop(node.scrollTop);
    if (onFollow) {
      onFollow(node.scrollTop + node.clientHeight >= size * height - height);
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
      aria-rowcount={props.role === 'grid' ? size : undefined}
      tabIndex={props.tabIndex ?? 0}
      onScroll={onScroll}
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
