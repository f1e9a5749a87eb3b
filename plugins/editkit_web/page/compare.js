// Result with the source over its left part, up to a line that the pointer or the slider moves.
export default {
  template: `
    <div>
      <div class="ek-scroll"><div class="ek-stage" :class="{ 'ek-drag': before, 'ek-fit': after }" :style="stageStyle" @pointerdown="start" @pointermove="move">
        <img v-if="after" class="ek-image" :src="after" alt="Result" draggable="false" />
        <img v-if="after && before" class="ek-overlay" :src="before" alt="Source" draggable="false" :style="clip" />
        <div v-if="after && before" class="ek-line" :style="{ left: at + '%' }"></div>
        <div v-if="!after" class="ek-hint"><slot></slot></div>
      </div></div>
      <input v-if="after && before" class="ek-range" type="range" min="0" max="100" v-model.number="at"
        aria-label="Compare the source and the result" />
    </div>`,
  props: {
    before: String,
    after: String,
    width: { type: Number, default: 1 },
    height: { type: Number, default: 1 },
  },
  data() {
    return { at: 0 };
  },
  computed: {
    clip() {
      return { clipPath: `inset(0 ${100 - this.at}% 0 0)` };
    },
    stageStyle() {
      if (!this.after) return {};
      return { aspectRatio: `${this.width} / ${this.height}`, "--ratio": this.width / this.height };
    },
  },
  methods: {
    start(event) {
      if (!this.before) return;
      event.currentTarget.setPointerCapture(event.pointerId);
      this.place(event);
    },
    move(event) {
      if (this.before && event.buttons) this.place(event);
    },
    place(event) {
      const box = event.currentTarget.getBoundingClientRect();
      this.at = Math.round(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * 100);
    },
  },
};
