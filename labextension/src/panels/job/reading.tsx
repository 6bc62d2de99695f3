/** What the pages of a job share: what they are given, and how they read what is not watched. */

import * as React from 'react';

import { useKubeflow } from '../../components/context';
import type { JobKey, JobView } from '../../wire';

export interface Common {
  jobKey: JobKey;
  view: JobView | null;
}

/** What is read once, and again when the job changes: at most once a second. */
export function useRead<T>(read: () => Promise<T>, mark: unknown): { value: T | null; error: string } {
  const [state, set] = React.useState<{ value: T | null; error: string }>({ value: null, error: '' });
  const latest = React.useRef(read);
  latest.current = read;
  const last = React.useRef(0);
  React.useEffect(() => {
    let live = true;
    const wait = Math.max(0, last.current + 1000 - Date.now());
    const timer = window.setTimeout(() => {
      last.current = Date.now();
      latest.current().then(
        value => live && set({ value, error: '' }),
        (error: unknown) => live && set(before => ({ ...before, error: String(error instanceof Error ? error.message : error) }))
      );
    }, wait);
    return () => {
      live = false;
      window.clearTimeout(timer);
    };
  }, [mark]);
  return state;
}

/** Changes when the state of a job or of its replicas does, not with each line it prints. */
export function useMark(view: JobView | null): string {
  return React.useMemo(
    () => JSON.stringify([view?.status.phase, view?.replicas.map(one => [one.phase, one.restarts])]),
    [view?.status.phase, view?.replicas]
  );
}

export function Waiting(): React.JSX.Element {
  const { trans } = useKubeflow();
  return (
    <div className="kfx-Loading" aria-busy="true" aria-label={trans.__('Loading')}>
      {[0, 1, 2].map(n => (
        <div key={n} className="kfx-Row kfx-Row-blank" style={{ height: 40 }} />
      ))}
    </div>
  );
}
