/** What components are given by whoever shows them, and the hooks that follow the cluster. */

import * as React from 'react';

import type { Client, RowsWatch, Standing } from '../client';
import { NO_ROWS } from '../model';
import type { JobState, RowsState } from '../model';
import type { IKubeflow, Preferences } from '../tokens';
import type { JobKey, JobQuery, JobView } from '../wire';

const Context = React.createContext<IKubeflow | null>(null);

export const KubeflowProvider = Context.Provider;

export function useKubeflow(): IKubeflow {
  const found = React.useContext(Context);
  if (!found) {
    throw new Error('a component of jupyterlab-kf was shown without its context');
  }
  return found;
}

/** How it stands with the cluster. */
export function useStanding(client: Client): Standing {
  const [standing, set] = React.useState(client.standing);
  React.useEffect(() => {
    const slot = (_: Client, next: Standing) => set(next);
    client.changed.connect(slot);
    set(client.standing);
    return () => void client.changed.disconnect(slot);
  }, [client]);
  return standing;
}

/** A window of rows that follows the cluster. */
export function useRows(client: Client, query: JobQuery): RowsState {
  const [state, set] = React.useState(NO_ROWS);
  const watch = React.useRef<RowsWatch | null>(null);
  const first = React.useRef(query);
  React.useEffect(() => {
    watch.current = client.rows(first.current, set);
    return () => watch.current?.dispose();
  }, [client]);
  React.useEffect(() => {
    if (first.current !== query) {
      first.current = query;
      watch.current?.ask(query);
    }
  }, [query]);
  return state;
}

/** A job that follows the cluster; not followed while `key` is null. */
export function useJob(kf: IKubeflow, key: JobKey | null, known: JobView | null): JobState {
  const [state, set] = React.useState<JobState>({ view: known, gone: false, error: '' });
  const text = key && [key.kind, key.namespace, key.name, key.uid].join('/');
  const begin = React.useRef({ key, known });
  begin.current = { key, known };
  React.useEffect(() => {
    const { key: now, known: view } = begin.current;
    if (!now) {
      return;
    }
    const watch = kf.client.job(
      now,
      next => {
        if (next.view) {
          kf.remember(next.view);
        }
        set(next);
      },
      view
    );
    return () => watch.dispose();
  }, [kf, text]);
  return state;
}

/**
 * A value that is found again as it was left when the page is loaded again. What the user does before it was found
 * wins; a preference that changes is one more thing that the user does.
 */
export function useLeft<T extends object>(name: string, initial: T): [T, (change: Partial<T>) => void] {
  const { left } = useKubeflow();
  const [value, set] = React.useState(initial);
  const touched = React.useRef(false);
  React.useEffect(() => {
    let live = true;
    void left.fetch(name).then(found => {
      if (live && !touched.current && typeof found === 'object' && found !== null) {
        set(before => ({ ...before, ...found }));
      }
    });
    return () => {
      live = false;
    };
  }, [left, name]);
  const change = React.useCallback(
    (part: Partial<T>) => {
      touched.current = true;
      set(before => {
        const next = { ...before, ...part };
        left.save(name, next);
        return next;
      });
    },
    [left, name]
  );
  return [value, change];
}

/** The settings as they are. */
export function usePreferences(): Preferences {
  const kf = useKubeflow();
  const [preferences, set] = React.useState(kf.preferences);
  React.useEffect(() => {
    const slot = (_: unknown, next: Preferences) => set(next);
    kf.preferencesChanged.connect(slot);
    set(kf.preferences);
    return () => void kf.preferencesChanged.disconnect(slot);
  }, [kf]);
  return preferences;
}

/** Epoch seconds, moving once a second while `active`. */
export function useNow(active: boolean): number {
  const [now, set] = React.useState(() => Date.now() / 1000);
  React.useEffect(() => {
    if (!active) {
      return;
    }
    set(Date.now() / 1000);
    const timer = window.setInterval(() => set(Date.now() / 1000), 1000);
    return () => window.clearInterval(timer);
  }, [active]);
  return now;
}
