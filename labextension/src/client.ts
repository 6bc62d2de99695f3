/** The only module that touches the network: requests to the server extension, and one socket for all that is live. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { DisposableDelegate } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { applyEndpoint, NO_ENDPOINT } from './endpoints';
import type { EndpointState } from './endpoints';
import { applyJob, applyRows, NO_ROWS } from './model';
import type { JobState, RowsState } from './model';
import { applyStudy, NO_STUDY } from './study';
import type { StudyState } from './study';
import type {
  AskEndpoint,
  AskEndpoints,
  AskJob,
  AskKernels,
  AskLines,
  AskRows,
  AskStudies,
  AskStudy,
  ChangeDone,
  ChangePlan,
  ChangeRequest,
  ClusterInfo,
  Contexts,
  Copies,
  EndedFrame,
  EndpointDetail,
  EndpointFrame,
  EndpointKey,
  EndpointRow,
  EndpointsFrame,
  Event,
  Failure,
  FeedbackRequest,
  JobDetail,
  JobFrame,
  JobKey,
  JobQuery,
  JobRow,
  JobView,
  KernelStart,
  KernelsFrame,
  LaunchRequest,
  Line,
  LinesFrame,
  Link,
  LinkFrame,
  PlanAnswer,
  RowsFrame,
  StudiesFrame,
  StudyCopies,
  StudyFrame,
  StudyKey,
  TrialDetail,
  TryAnswer,
  TryRequest,
  Workshop
} from './wire';

const API = 'jupyterlab-kf';
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;

export interface Overtaken {
  now: JobDetail;
  both: string;
}

/** What the server said no with: a sentence, and what to do about it. */
export class KubeflowError extends Error {
  constructor(
    message: string,
    readonly hint: string,
    readonly reason: string,
    readonly status: number,
    /** Of an edit that was too late: what there is now, and the edit on top of it. */
    readonly overtaken: Overtaken | null = null
  ) {
    super(message);
  }
}

/** How it stands with the cluster, seen from the browser: its own states and two more of the way to the server. */
export interface Standing extends Omit<Link, 'state'> {
  state: Link['state'] | 'offline' | 'absent' | 'idle';
  cluster: string;
  namespace: string;
}

type Frame =
  | LinkFrame
  | RowsFrame
  | JobFrame
  | LinesFrame
  | StudiesFrame
  | StudyFrame
  | EndpointsFrame
  | EndpointFrame
  | KernelsFrame
  | EndedFrame;
type Ask = AskRows | AskJob | AskLines | AskStudies | AskStudy | AskEndpoints | AskEndpoint | AskKernels;

export interface RowsWatch extends IDisposable {
  ask(query: JobQuery): void;
}

export const QUERY: JobQuery = {
  text: '',
  phases: [],
  namespace: '',
  sort: 'created',
  descending: true,
  grouped: false,
  collapsed: [],
  offset: 0,
  limit: 50
};

export class Client {
  constructor(private readonly settings: ServerConnection.ISettings = ServerConnection.makeSettings()) {}

  get standing(): Standing {
    return this._standing;
  }

  /** How it stands has changed. */
  get changed(): ISignal<this, Standing> {
    return this._changed;
  }

  /** A job has just ended. */
  get ended(): ISignal<this, JobRow> {
    return this._ended;
  }

  /** Watch a window of rows; it begins with what is there. */
  rows(query: JobQuery, take: (state: RowsState) => void): RowsWatch {
    let state = NO_ROWS;
    const id = this.newId();
    const close = this.begin({ type: 'rows', id, query }, frame => {
      if (frame.type === 'rows') {
        state = applyRows(state, frame);
        take(state);
      }
    });
    const ask = (next: JobQuery) => this.again({ type: 'rows', id, query: next });
    return Object.assign(close, { ask });
  }

  /** Watch a job. */
  job(key: JobKey, take: (state: JobState) => void, known: JobView | null = null): IDisposable {
    let state: JobState = { view: known, gone: false, error: '' };
    return this.begin({ type: 'job', id: this.newId(), key }, frame => {
      if (frame.type === 'job') {
        state = applyJob(state, frame);
        take(state);
      }
    });
  }

  /** Watch the studies. */
  studies(take: (state: StudiesFrame) => void): IDisposable {
    return this.begin({ type: 'studies', id: this.newId() }, frame => {
      if (frame.type === 'studies') {
        take(frame);
      }
    });
  }

  /** Watch a study; `known` is what is shown until it is heard of. */
  study(key: StudyKey, take: (state: StudyState) => void, known: StudyState = NO_STUDY): IDisposable {
    let state = known;
    return this.begin({ type: 'study', id: this.newId(), key }, frame => {
      if (frame.type === 'study') {
        state = applyStudy(state, frame);
        take(state);
      }
    });
  }

  /** End a study or one `trial` of it, let it go on, or give it a budget of so many `trials` in all. */
  studyDeed(key: StudyKey, deed: 'stop' | 'stop-trial' | 'resume' | 'extend', said: { trials?: number; trial?: string } = {}): Promise<StudyKey> {
    return this.request(`${studyPlace(key)}/${deed}`, { method: 'POST', body: JSON.stringify(said) });
  }

  /** Train with the values of a trial; the best where none is named. */
  promote(key: StudyKey, trial = ''): Promise<JobKey> {
    return this.request(`${studyPlace(key)}/promote`, { method: 'POST', body: JSON.stringify({ trial }) });
  }

  studyCopies(key: StudyKey, trial = ''): Promise<StudyCopies> {
    return this.request(`${studyPlace(key)}/copies?trial=${encodeURIComponent(trial)}`);
  }

  trial(namespace: string, name: string): Promise<TrialDetail> {
    return this.request(place({ kind: TRIAL, namespace, name, uid: '' }));
  }

  /** Where a study's trials can be downloaded from. */
  studyTableUrl(key: StudyKey): string {
    return this.download(`${studyPlace(key)}/csv`);
  }

  /** Watch the endpoints. */
  endpoints(take: (state: EndpointsFrame) => void): IDisposable {
    return this.begin({ type: 'endpoints', id: this.newId() }, frame => {
      if (frame.type === 'endpoints') {
        take(frame);
      }
    });
  }

  /** Watch an endpoint and what it measures. */
  endpoint(key: EndpointKey, take: (state: EndpointState) => void): IDisposable {
    let state = NO_ENDPOINT;
    return this.begin({ type: 'endpoint', id: this.newId(), key }, frame => {
      if (frame.type === 'endpoint') {
        state = applyEndpoint(state, frame);
        take(state);
      }
    });
  }

  /** Watch the kernels in pods that are being started; it begins with those that are. */
  kernels(take: (starts: KernelStart[]) => void): IDisposable {
    return this.begin({ type: 'kernels', id: this.newId() }, frame => {
      if (frame.type === 'kernels') {
        take(frame.starts);
      }
    });
  }

  /** Read a job's log, from its beginning to its end. After a lost connection it begins again: `fresh` says so. */
  lines(key: JobKey, take: (lines: Line[], done: boolean, fresh: boolean, error: string) => void): IDisposable {
    const id = this.newId();
    let begun = -1;
    return this.begin({ type: 'lines', id, key }, frame => {
      if (frame.type === 'lines') {
        const fresh = begun !== this._generation;
        begun = this._generation;
        take(frame.lines, frame.done, fresh, frame.error);
      }
    });
  }

  cluster(): Promise<ClusterInfo> {
    return this.request('cluster');
  }

  startCluster(): Promise<ClusterInfo> {
    return this.request('cluster', { method: 'POST', body: '{}' });
  }

  /** The clusters that can be looked at. */
  contexts(): Promise<Contexts> {
    return this.request('contexts');
  }

  /** Look at another cluster, all panels of this server together. */
  use(context: string, namespace = ''): Promise<ClusterInfo> {
    return this.request('use', { method: 'POST', body: JSON.stringify({ context, namespace }) });
  }

  detail(key: JobKey): Promise<JobDetail> {
    return this.request(place(key));
  }

  /** Apply an edit of what was read; refused with what there is now when it was too late. */
  replace(key: JobKey, manifest: string, read: JobDetail): Promise<JobDetail> {
    const body = JSON.stringify({ manifest, version: read.version, base: read.manifest });
    return this.request(place(key), { method: 'PUT', body });
  }

  delete(key: JobKey): Promise<JobKey> {
    return this.request(place(key) + only(key), { method: 'DELETE' });
  }

  deed(key: JobKey, deed: 'suspend' | 'resume' | 'rerun'): Promise<JobKey> {
    return this.request(`${place(key)}/${deed}`, { method: 'POST', body: '{}' });
  }

  events(key: JobKey): Promise<Event[]> {
    return this.request(`${place(key)}/events`);
  }

  /** A launch form filled in with what a job was made of. */
  form(key: JobKey): Promise<LaunchRequest> {
    return this.request(`${place(key)}/form`);
  }

  copies(key: JobKey): Promise<Copies> {
    return this.request(`${place(key)}/copies`);
  }

  /** Where a log can be downloaded from. */
  logUrl(key: JobKey, replica: string): string {
    const query = new URLSearchParams();
    if (replica) {
      query.set('replica', replica);
    }
    return this.download(`${place(key)}/logs`, query);
  }

  private download(path: string, query = new URLSearchParams()): string {
    const url = URLExt.join(this.settings.baseUrl, API, path);
    if (this.settings.token) {
      query.set('token', this.settings.token);
    }
    const text = query.toString();
    return text ? `${url}?${text}` : url;
  }

  plan(request: Partial<LaunchRequest>): Promise<PlanAnswer> {
    return this.request('plans', { method: 'POST', body: JSON.stringify(request) });
  }

  launch(request: Partial<LaunchRequest>): Promise<JobKey> {
    return this.request('jobs', { method: 'POST', body: JSON.stringify(request) });
  }

  endpointDetail(key: EndpointKey): Promise<EndpointDetail> {
    return this.request(endpointPlace(key));
  }

  /** The graph of a version, and what it can be made of anew. */
  workshop(key: EndpointKey, version: string): Promise<Workshop> {
    const query = new URLSearchParams({ version, uid: key.uid });
    return this.request(`${endpointPlace(key)}/graph?${query.toString()}`);
  }

  deleteEndpoint(key: EndpointKey): Promise<EndpointKey> {
    return this.request(endpointPlace(key) + only(key), { method: 'DELETE' });
  }

  /** What a change would make different; changes nothing. */
  planChange(key: EndpointKey, request: Partial<ChangeRequest>): Promise<ChangePlan> {
    return this.request(`${endpointPlace(key)}/plan${only(key)}`, { method: 'POST', body: JSON.stringify(request) });
  }

  /** Make a change; done when requests go where it says. */
  makeChange(key: EndpointKey, request: Partial<ChangeRequest>): Promise<ChangeDone> {
    return this.request(`${endpointPlace(key)}/change${only(key)}`, { method: 'POST', body: JSON.stringify(request) });
  }

  predict(key: EndpointKey, request: TryRequest): Promise<TryAnswer> {
    return this.request(`${endpointPlace(key)}/predict${only(key)}`, { method: 'POST', body: JSON.stringify(request) });
  }

  /** A prediction of what serves models without Seldon. */
  predictOther(row: EndpointRow, request: TryRequest): Promise<TryAnswer> {
    const path = [row.kind, row.namespace, row.name].map(encodeURIComponent).join('/');
    return this.request(`servers/${path}/predict`, { method: 'POST', body: JSON.stringify(request) });
  }

  /** Tell how good an answer was. */
  feedback(key: EndpointKey, request: FeedbackRequest): Promise<EndpointKey> {
    return this.request(`${endpointPlace(key)}/feedback${only(key)}`, { method: 'POST', body: JSON.stringify(request) });
  }

  private async request<T>(path: string, init: RequestInit = {}): Promise<T> {
    const url = URLExt.join(this.settings.baseUrl, API, path);
    const answer = await ServerConnection.makeRequest(url, init, this.settings);
    const text = await answer.text();
    let body: unknown = null;
    try {
      body = text ? JSON.parse(text) : null;
    } catch {
      body = null;
    }
    if (!answer.ok) {
      const said = (body ?? {}) as Partial<Failure>;
      throw new KubeflowError(
        said.message ?? `${answer.status} ${answer.statusText}`,
        said.hint ?? '',
        said.reason ?? '',
        answer.status,
        said.now ? { now: said.now, both: said.both ?? '' } : null
      );
    }
    return body as T;
  }

  // The socket

  private newId(): string {
    return `${++this._count}`;
  }

  private begin(ask: Ask, take: (frame: Frame) => void): IDisposable {
    this._asks.set(ask.id, { ask, take });
    this.send(ask);
    this.connect();
    return new DisposableDelegate(() => {
      this._asks.delete(ask.id);
      this.send({ type: 'close', id: ask.id });
    });
  }

  private again(ask: Ask): void {
    const known = this._asks.get(ask.id);
    if (known) {
      known.ask = ask;
      this.send(ask);
    }
  }

  private send(message: object): void {
    if (this._socket?.readyState === WebSocket.OPEN) {
      this._socket.send(JSON.stringify(message));
    }
  }

  private connect(): void {
    if (this._socket || this._timer !== null || this._standing.state === 'absent') {
      return;
    }
    let url = URLExt.join(this.settings.wsUrl, API, 'stream');
    if (this.settings.appendToken && this.settings.token) {
      url += `?token=${encodeURIComponent(this.settings.token)}`;
    }
    const socket = new WebSocket(url);
    this._socket = socket;
    socket.onopen = () => {
      this._pause = FIRST_PAUSE;
      this._generation += 1;
      for (const { ask } of this._asks.values()) {
        this.send(ask);
      }
    };
    socket.onmessage = message => {
      this._heard = true;
      for (const frame of JSON.parse(String(message.data)) as Frame[]) {
        this.receive(frame);
      }
    };
    socket.onclose = () => {
      this._socket = null;
      void this.lost();
    };
  }

  private async lost(): Promise<void> {
    if (!this._heard) {
      // Never heard of it: is there a server extension at all?
      try {
        await this.cluster();
      } catch (error) {
        if (error instanceof KubeflowError && [403, 404].includes(error.status)) {
          this.stand({ state: 'absent', message: error.message, hint: '' });
          return;
        }
      }
    }
    this.stand({ state: 'offline', message: '', hint: '' });
    this._timer = window.setTimeout(
      () => {
        this._timer = null;
        if (this._asks.size) {
          this.connect();
        }
      },
      this._pause * (0.5 + Math.random() / 2)
    );
    this._pause = Math.min(this._pause * 2, LONGEST_PAUSE);
  }

  private receive(frame: Frame): void {
    switch (frame.type) {
      case 'link':
        this.stand({ ...frame.link, cluster: frame.cluster, namespace: frame.namespace });
        break;
      case 'ended':
        this._ended.emit(frame.row);
        break;
      default:
        this._asks.get(frame.id)?.take(frame);
    }
  }

  private stand(change: Partial<Standing>): void {
    this._standing = { ...this._standing, ...change };
    this._changed.emit(this._standing);
  }

  private readonly _asks = new Map<string, { ask: Ask; take: (frame: Frame) => void }>();
  private readonly _changed = new Signal<this, Standing>(this);
  private readonly _ended = new Signal<this, JobRow>(this);
  private _standing: Standing = { state: 'idle', message: '', hint: '', cluster: '', namespace: '' };
  private _socket: WebSocket | null = null;
  private _timer: number | null = null;
  private _pause = FIRST_PAUSE;
  private _count = 0;
  private _generation = 0;
  private _heard = false;
}

/** The kinds of a study's trials and of endpoints, whose logs are read as those of jobs. */
export const TRIAL = 'Trial';
export const ENDPOINT = 'SeldonDeployment';

function studyPlace(key: StudyKey): string {
  return ['studies', key.namespace, key.name].map(encodeURIComponent).join('/');
}

function place(key: JobKey): string {
  if (key.kind === TRIAL) {
    return ['trials', key.namespace, key.name].map(encodeURIComponent).join('/');
  }
  if (key.kind === ENDPOINT) {
    return endpointPlace(key);
  }
  return ['jobs', key.kind, key.namespace, key.name].map(encodeURIComponent).join('/');
}

function endpointPlace(key: Pick<EndpointKey, 'namespace' | 'name'>): string {
  return ['endpoints', key.namespace, key.name].map(encodeURIComponent).join('/');
}

/** That very one, and not another that took its name. */
function only({ uid }: { uid: string }): string {
  return uid ? `?uid=${encodeURIComponent(uid)}` : '';
}
